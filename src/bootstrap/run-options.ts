/** What a run is asked for, and what it shows while it goes on. */
import type { RunView } from '../actors/messages.ts';
import type { RunId } from '../kernel/ids.ts';
import type { CallFigures } from './run-report.ts';

export type { RunView };

export interface RunOptions {
  readonly allowConfigChange: boolean;
  /** The command line, shown to others that meet our hold. */
  readonly command: string;
  /** What a person types to publish the dataset by hand, when publishing at the end fails. */
  readonly pushCommand: string;
  readonly observer: RunObserver;
  /** On a cluster: submit the run and do not wait for it. @default false */
  readonly detach?: boolean;
  /** On a cluster: serve the metrics of this process and its workers on this port. @default none */
  readonly metricsPort?: number;
  /** Aborts at the first request to stop; what is in flight may finish. */
  readonly stop: AbortSignal;
}

/** What a person is shown while it happens. */
export interface RunObserver {
  /** What is being done or waited for; null when that is over. */
  status(text: string | null): void;
  started(run: RunStart): void;
}

/** What the counts of a progress display are called. */
export interface ProgressWords {
  /** Conversations that are done. */
  readonly done: string;
  /** What came to nothing. */
  readonly lost: string;
  /** What is counted by the second. */
  readonly rate: string;
}

export interface RunStart {
  readonly runId: RunId;
  readonly resumed: boolean;
  readonly languages: readonly string[];
  readonly outputDir: string;
  /** What is said of the start. @default that a run starts or goes on */
  readonly title?: string;
  /** @default those of a run */
  readonly words?: ProgressWords;
  view(): Promise<RunView>;
  readonly calls: { stats(): Promise<CallFigures> };
}
