/**
 * Whether this node can trust what it sees of the others: it hears itself through the network, and has
 * not stood still. Owns the own heartbeats that have not come back.
 *
 * Invariants: 1. contact is counted from when a heartbeat was sent, so one that was held up on its way
 * does not count for longer; 2. after a jump of the clock between two ticks (the process was frozen, or
 * the machine asleep) only a heartbeat that was sent after the jump counts.
 */
import type { Clock } from '../../kernel/clock.ts';

export interface ContactTimings {
  /** Contact lasts this long after the last own heartbeat that came back was sent. */
  readonly contactMs: number;
  /** Unbroken contact after which a node knows who else is there. */
  readonly warmMs: number;
  /** A pause between two ticks that is longer than this was a freeze. */
  readonly frozenMs: number;
}

/** More heartbeats than this are never under way within `contactMs`. */
const UNDER_WAY_MAX = 256;

export class Contact {
  readonly #clock: Clock;
  readonly #timings: ContactTimings;
  readonly #isConnected: () => boolean;
  /** When each was sent. */
  readonly #underWay = new Map<number, number>();
  #tickedAtMs: number;
  #latestSentAtMs: number | null = null;
  /** Begin of the unbroken contact. */
  #sinceMs: number | null = null;
  #begun = 0;

  constructor(clock: Clock, timings: ContactTimings, isConnected: () => boolean) {
    this.#clock = clock;
    this.#timings = timings;
    this.#isConnected = isConnected;
    this.#tickedAtMs = clock.now();
  }

  get isThere(): boolean {
    const nowMs = this.#clock.now();
    if (this.#latestSentAtMs === null || !this.#isConnected() || this.#hasJumped(nowMs)) return false;
    return nowMs - this.#latestSentAtMs <= this.#timings.contactMs;
  }

  /** How often contact has begun. */
  get begun(): number {
    return this.#begun;
  }

  get isWarm(): boolean {
    const nowMs = this.#clock.now();
    return this.isThere && this.#sinceMs !== null && nowMs - this.#sinceMs >= this.#timings.warmMs;
  }

  tick(): void {
    this.#look();
    this.#tickedAtMs = this.#clock.now();
  }

  sent(seq: number): void {
    this.#look();
    this.#underWay.set(seq, this.#clock.now());
    const [oldest] = this.#underWay.keys();
    if (this.#underWay.size > UNDER_WAY_MAX && oldest !== undefined) this.#underWay.delete(oldest);
  }

  /** True when contact begins with it. */
  cameBack(seq: number): boolean {
    this.#look();
    const sentAtMs = this.#underWay.get(seq);
    if (sentAtMs === undefined) return false;
    for (const older of this.#underWay.keys()) if (older <= seq) this.#underWay.delete(older);
    this.#latestSentAtMs = Math.max(sentAtMs, this.#latestSentAtMs ?? sentAtMs);
    if (!this.isThere || this.#sinceMs !== null) return false;
    this.#sinceMs = this.#clock.now();
    this.#begun += 1;
    return true;
  }

  /** Ends what has ended since the last look. */
  #look(): void {
    const nowMs = this.#clock.now();
    if (!this.isThere) this.#sinceMs = null;
    if (!this.#hasJumped(nowMs)) return;
    this.#underWay.clear();
    this.#latestSentAtMs = null;
    this.#tickedAtMs = nowMs;
  }

  /** Forwards, or back: then no time that was noted means anything. */
  #hasJumped(nowMs: number): boolean {
    return Math.abs(nowMs - this.#tickedAtMs) > this.#timings.frozenMs;
  }
}
