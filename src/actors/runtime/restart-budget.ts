/**
 * Decides what a failure means: another start after a pause, or giving up. Pure but for its memory of
 * the restarts so far.
 */
import { isDlgforgeError } from '../../kernel/errors.ts';
import type { RestartPolicy } from './types.ts';

export const DEFAULT_RESTART: RestartPolicy = {
  maxRestarts: 5,
  withinMs: 60_000,
  backoffMinMs: 100,
  backoffMaxMs: 10_000,
  onGivenUp: 'stop',
};

export type Verdict =
  | { readonly type: 'restart'; readonly pauseMs: number }
  | { readonly type: 'give_up'; readonly escalate: boolean };

export class RestartBudget {
  readonly #policy: RestartPolicy;
  /** Times of the restarts within the window; never more than `maxRestarts`. */
  #restartedAtMs: number[] = [];
  #inARow = 0;

  constructor(policy: RestartPolicy) {
    this.#policy = policy;
  }

  /** `healthySinceMs`: when the behaviour that failed had started; null when its start failed. */
  failed(nowMs: number, healthySinceMs: number | null, error: unknown): Verdict {
    // I2: another holder has taken over, and starting again would take the hold back.
    if (isDlgforgeError(error, 'stale_epoch')) return { type: 'give_up', escalate: false };
    const { maxRestarts, withinMs, backoffMinMs, backoffMaxMs, onGivenUp } = this.#policy;
    this.#restartedAtMs = this.#restartedAtMs.filter((atMs) => nowMs - atMs < withinMs);
    if (this.#restartedAtMs.length >= maxRestarts) {
      return { type: 'give_up', escalate: onGivenUp === 'escalate' };
    }
    if (healthySinceMs !== null && nowMs - healthySinceMs >= withinMs) this.#inARow = 0;
    const pauseMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** this.#inARow);
    this.#inARow += 1;
    this.#restartedAtMs.push(nowMs);
    return { type: 'restart', pauseMs };
  }
}
