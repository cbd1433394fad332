import type { Role } from '../../dialogue/chat.ts';

/** Weight of the newest answer in the mean of a role's answer times. */
const NEWEST = 0.2;
/** Nothing has come back for this long while requests are out: no progress, for an endpoint that nothing is known of. */
const NO_PROGRESS_MIN_MS = 120_000;
/** How many times its slowest answer an endpoint may be silent. */
const NO_PROGRESS_FACTOR = 4;
/** What the slowest answer counts after each later one: a single straggler is forgotten after some hundred. */
const SLOWEST_DECAY = 0.99;

/**
 * How fast an endpoint answers, and since when nothing has come back. Owns the answer times that the router
 * has seen. Only answers count, so that failing fast does not look fast.
 */
export class EndpointPace {
  readonly #answerMs = new Map<Role, number>();
  #slowestMs = 0;
  #progressAtMs = 0;

  /** Mean time of the latest answers to a role; null while there was none. */
  answerMs(role: Role): number | null {
    return this.#answerMs.get(role) ?? null;
  }

  /** It was idle and is so no longer, or something has come back. */
  progressed(nowMs: number): void {
    this.#progressAtMs = nowMs;
  }

  answered(role: Role, tookMs: number): void {
    const known = this.#answerMs.get(role);
    this.#answerMs.set(role, known === undefined ? tookMs : known + NEWEST * (tookMs - known));
    this.#slowestMs = Math.max(tookMs, this.#slowestMs * SLOWEST_DECAY);
  }

  /** For an endpoint with requests out: whether it has been silent for longer than it should. */
  isStuck(nowMs: number): boolean {
    return nowMs - this.#progressAtMs >= Math.max(NO_PROGRESS_MIN_MS, NO_PROGRESS_FACTOR * this.#slowestMs);
  }
}
