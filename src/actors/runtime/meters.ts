/**
 * What the runtime counts. Owns the handles, one set per kind of actor, so that counting a message costs
 * two looks at a clock. Without metrics there are no meters at all.
 */
import { DlgforgeError, InvariantError } from '../../kernel/errors.ts';
import type { Counter, Histogram, Metrics } from '../../kernel/metrics.ts';
import type { DeadLetterReason } from './types.ts';

export interface ActorMeter {
  readonly handlerSeconds: Histogram;
  restarted(error: unknown): void;
  givenUp(error: unknown): void;
}

export class Meters {
  readonly asksTimedOut: Counter;
  readonly #metrics: Metrics;
  readonly #ofKind = new Map<string, ActorMeter>();

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    this.asksTimedOut = metrics.counter('dlgforge_asks_timed_out_total');
  }

  /** Null when nobody will look. */
  ofKind(kind: string): ActorMeter | null {
    if (!this.#metrics.isOn) return null;
    const known = this.#ofKind.get(kind);
    if (known !== undefined) return known;
    const metrics = this.#metrics;
    const meter: ActorMeter = {
      handlerSeconds: metrics.histogram('dlgforge_handler_seconds', { kind }),
      restarted: (error) =>
        metrics.counter('dlgforge_actor_restarts_total', { kind, reason: codeOf(error) }).add(),
      givenUp: (error) =>
        metrics.counter('dlgforge_actors_given_up_total', { kind, reason: codeOf(error) }).add(),
    };
    this.#ofKind.set(kind, meter);
    return meter;
  }

  deadLetter(reason: DeadLetterReason): void {
    this.#metrics.counter('dlgforge_dead_letters_total', { reason }).add();
  }
}

/** Few values: codes, not messages. */
function codeOf(error: unknown): string {
  if (error instanceof DlgforgeError) return error.code;
  return error instanceof InvariantError ? 'invariant' : 'other';
}
