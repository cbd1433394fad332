import type { RunObserver } from '../run-options.ts';

/** What a pass is asked for. */
export interface JudgeOptions {
  /** Judge what has a verdict of the pass, too. */
  readonly rejudge: boolean;
  /** Conversations to judge at most; null for all. */
  readonly limit: number | null;
  /** None: all. */
  readonly languages: readonly string[];
  /** As asked for on the command line; the configuration has it too. Null: as configured. */
  readonly model: string | null;
  /** Through the batch API of the judge's endpoint. */
  readonly batch: boolean;
  /** The command line, shown to others that meet our hold. */
  readonly command: string;
  readonly observer: RunObserver;
  /** Aborts at the first request to stop; what is in flight may finish. */
  readonly stop: AbortSignal;
}
