import type { Role } from '../../dialogue/chat.ts';
import { EndpointPace } from './endpoint-pace.ts';

/** What the holder of a permit tells about the endpoint when it gives the permit back. */
export type PermitOutcome =
  /** A response to this request, be it a refusal of the request. */
  | { readonly type: 'answered' }
  | { readonly type: 'rate_limited'; readonly retryAfterMs: number | null }
  | { readonly type: 'failed'; readonly retryAfterMs: number | null }
  | { readonly type: 'unusable'; readonly reason: string; readonly status: number }
  /** Nothing is known: cancelled, or the holder died. */
  | { readonly type: 'abandoned' };

/** A permit that comes back. */
export interface ReturnedPermit {
  readonly grant: number;
  readonly role: Role;
  /** Null when another router granted it. */
  readonly grantedAtMs: number | null;
}

type Health =
  | { readonly type: 'closed' }
  /** No traffic until then, afterwards one probe. */
  | { readonly type: 'open'; readonly untilMs: number }
  | { readonly type: 'probing'; readonly grant: number };

const SHRINK = 0.75;
const CAUTIOUS_START = 4;
/** Successes after an admission before failures are forgiven as bad luck. */
const TRUST = 3;
const FAILURES_UNTRUSTED = 2;
const FAILURES_TRUSTED = 5;
const OPEN_MIN_MS = 1_000;
const OPEN_MAX_MS = 30_000;
/** What is left of the failures lately after each success, and the time after which half of them is left. */
const BLAME_KEPT = 0.9;
const BLAME_HALF_MS = 10_000;
const BLAME_MIN = 0.05;

/** How an endpoint begins. */
export interface Start {
  /** Small: worth it where other endpoints can take the traffic meanwhile. */
  readonly cautious: boolean;
  /** Until it has answered once, every request is a probe. */
  readonly asksFirst: boolean;
}

/**
 * Owns what the router knows about one server and model, whichever runs use it: its load, its concurrency
 * limit, its health.
 *
 * 1. Nothing is granted while `maxInFlight` permits are out (I7), whatever the limit and the health say.
 *    More may be out only when the maximum has just been lowered, or another router granted them.
 * 2. The limit falls by a quarter on a rate limit, once per round trip: a request sent before the
 *    last cut says nothing about the limit after it. It rises by one per round trip of successes,
 *    and while the endpoint proves itself by one per success.
 * 3. Consecutive failures open the circuit; then one probe at a time until one is answered. An
 *    endpoint that comes back starts with one request.
 * 4. No progress counts as failing: while requests are out and nothing has come back for far longer than its
 *    slowest answer took, nothing more is granted, and the first time-out opens the circuit. An answer takes it
 *    back as it was: it was slow, not sick.
 * 5. Failures make its pressure worse, and are forgiven with time and answers: failing fast attracts nothing.
 */
export class EndpointState {
  readonly identity: string;
  inFlight = 0;
  /** Number of the newest grant; ties go to the one that has waited longest. */
  lastGrant = 0;
  #maxInFlight: number;
  #limit: number;
  #proving: boolean;
  #successes = 0;
  #failures = 0;
  /** Failures lately, as of `#blamedAtMs`. */
  #blame = 0;
  #blamedAtMs = 0;
  readonly #pace = new EndpointPace();
  readonly #asksFirst: boolean;
  #openings = 0;
  #health: Health = { type: 'closed' };
  #pausedUntilMs = 0;
  #cutAtGrant = 0;
  #answered = 0;
  #failed = 0;
  #rateLimited = 0;
  #busyMs = 0;
  #firstGrantMs: number | null = null;
  #changedMs = 0;

  constructor(identity: string, maxInFlight: number, { cautious, asksFirst }: Start) {
    this.identity = identity;
    this.#maxInFlight = maxInFlight;
    this.#asksFirst = asksFirst;
    this.#proving = cautious;
    this.#limit = cautious ? Math.min(CAUTIOUS_START, maxInFlight) : maxInFlight;
  }

  /** Hard limit of requests in flight; the limit in use follows it where nothing else has lowered it. */
  set maxInFlight(maxInFlight: number) {
    const isFree = this.#limit === this.#maxInFlight && !this.#proving;
    this.#maxInFlight = maxInFlight;
    this.#limit = isFree ? maxInFlight : Math.min(this.#limit, maxInFlight);
  }

  /** Requests with one more. Who fails fast has few: failures count so much that this attracts nothing. */
  pressure(nowMs: number): number {
    return (this.inFlight + 1) * (1 + this.#blameAt(nowMs)) ** 2;
  }

  /** Requests that it may have in flight at present. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  answerMs(role: Role): number | null {
    return this.#pace.answerMs(role);
  }

  hasRoom(nowMs: number): boolean {
    if (this.inFlight >= this.#maxInFlight || nowMs < this.#pausedUntilMs) return false;
    if (this.#health.type === 'closed') return this.inFlight < this.limit && !this.#isStuck(nowMs);
    return this.#health.type === 'open' && nowMs >= this.#health.untilMs;
  }

  /** When it may have room without any permit coming back; null when time alone changes nothing. */
  opensAtMs(nowMs: number): number | null {
    const open = this.#health.type === 'open' ? this.#health.untilMs : 0;
    const at = Math.max(this.#pausedUntilMs, open);
    return at > nowMs ? at : null;
  }

  pausedUntilMs(nowMs: number): number | null {
    return this.#pausedUntilMs > nowMs ? this.#pausedUntilMs : null;
  }

  /**
   * Counts a permit that goes out. True when it is a probe: whether the endpoint is there at all should be
   * found out before anything is sent to it.
   */
  granted(grant: number, nowMs: number): boolean {
    this.adopted(nowMs);
    this.lastGrant = grant;
    if (this.#health.type !== 'open') return this.#asksFirst && this.#answered === 0;
    this.#health = { type: 'probing', grant };
    return true;
  }

  /** Counts a permit that another router has granted: it is out, whatever the limits say. */
  adopted(nowMs: number): void {
    this.#account(nowMs);
    this.#firstGrantMs ??= nowMs;
    if (this.inFlight === 0) this.#pace.progressed(nowMs);
    this.inFlight += 1;
  }

  /** `newestGrant` is the number of the newest of all grants. */
  released(permit: ReturnedPermit, newestGrant: number, outcome: PermitOutcome, nowMs: number): void {
    this.#account(nowMs);
    const { grant, role, grantedAtMs } = permit;
    const wasStuck = this.#isStuck(nowMs);
    if (outcome.type !== 'abandoned') this.#pace.progressed(nowMs);
    if (outcome.type === 'answered' && grantedAtMs !== null) this.#pace.answered(role, nowMs - grantedAtMs);
    const inFlightBefore = this.inFlight;
    this.inFlight -= 1;
    const probe = this.#health.type === 'probing' && this.#health.grant === grant;
    switch (outcome.type) {
      case 'answered':
        return this.#succeeded(inFlightBefore, nowMs);
      case 'rate_limited':
        this.#pause(outcome.retryAfterMs, nowMs);
        return this.#cut(grant, newestGrant, inFlightBefore);
      case 'failed':
        this.#pause(outcome.retryAfterMs, nowMs);
        return this.#failedOnce(probe || wasStuck, nowMs);
      case 'unusable':
        if (probe) this.#readmit();
        return;
      case 'abandoned':
        if (probe) this.#health = { type: 'open', untilMs: nowMs };
    }
  }

  stats(nowMs: number): EndpointLoad {
    this.#account(nowMs);
    const elapsedMs = this.#firstGrantMs === null ? 0 : nowMs - this.#firstGrantMs;
    const averageInFlight = elapsedMs <= 0 ? 0 : this.#busyMs / elapsedMs;
    return {
      identity: this.identity,
      inFlight: this.inFlight,
      limit: this.limit,
      maxInFlight: this.#maxInFlight,
      averageInFlight,
      saturation: averageInFlight / this.#maxInFlight,
      answered: this.#answered,
      failed: this.#failed,
      rateLimited: this.#rateLimited,
      state:
        this.#health.type === 'closed' && !this.#isStuck(nowMs)
          ? this.#pausedUntilMs > nowMs
            ? 'paused'
            : 'open_for_traffic'
          : 'sick',
    };
  }

  #succeeded(inFlightBefore: number, nowMs: number): void {
    this.#answered += 1;
    this.#failures = 0;
    this.#blameIs(BLAME_KEPT * this.#blameAt(nowMs), nowMs);
    if (this.#health.type !== 'closed') return this.#readmit();
    this.#successes += 1;
    const max = this.#maxInFlight;
    if (this.#proving) this.#limit += 1;
    // A limit that is not being used says nothing about what the endpoint could take.
    else if (inFlightBefore * 2 >= this.#limit) this.#limit += 1 / this.#limit;
    if (this.#limit < max) return;
    this.#limit = max;
    this.#proving = false;
    this.#openings = 0;
  }

  #failedOnce(isEnough: boolean, nowMs: number): void {
    this.#failed += 1;
    this.#failures += 1;
    if (this.#health.type === 'closed') this.#blameIs(1 + this.#blameAt(nowMs), nowMs);
    if (this.#proving) this.#limit = Math.max(1, this.#limit / 2);
    const trusted = Math.max(FAILURES_TRUSTED, Math.ceil(this.#limit / 4));
    const allowed = this.#proving && this.#successes < TRUST ? FAILURES_UNTRUSTED : trusted;
    if (isEnough || (this.#health.type === 'closed' && this.#failures >= allowed)) this.#open(nowMs);
  }

  #blameAt(nowMs: number): number {
    return this.#blame === 0 ? 0 : this.#blame * 2 ** ((this.#blamedAtMs - nowMs) / BLAME_HALF_MS);
  }

  #blameIs(blame: number, nowMs: number): void {
    this.#blame = blame < BLAME_MIN ? 0 : blame;
    this.#blamedAtMs = nowMs;
  }

  #open(nowMs: number): void {
    const pauseMs = Math.min(OPEN_MAX_MS, OPEN_MIN_MS * 2 ** Math.min(this.#openings, 20));
    this.#openings += 1;
    // From here on the circuit says when it is asked: it must not look too bad to be probed.
    this.#blame = 0;
    this.#health = { type: 'open', untilMs: nowMs + pauseMs };
  }

  #readmit(): void {
    this.#health = { type: 'closed' };
    this.#failures = 0;
    this.#successes = 0;
    this.#proving = true;
    this.#limit = 1;
  }

  #cut(grant: number, newestGrant: number, inFlightBefore: number): void {
    this.#rateLimited += 1;
    this.#failures = 0;
    if (this.#health.type !== 'closed') return this.#readmit();
    if (grant <= this.#cutAtGrant) return;
    this.#cutAtGrant = newestGrant;
    this.#proving = false;
    this.#limit = Math.max(1, Math.min(this.#limit, inFlightBefore) * SHRINK);
  }

  #isStuck(nowMs: number): boolean {
    return this.inFlight > 0 && this.#pace.isStuck(nowMs);
  }

  #pause(retryAfterMs: number | null, nowMs: number): void {
    if (retryAfterMs !== null) this.#pausedUntilMs = Math.max(this.#pausedUntilMs, nowMs + retryAfterMs);
  }

  #account(nowMs: number): void {
    this.#busyMs += this.inFlight * (nowMs - this.#changedMs);
    this.#changedMs = nowMs;
  }
}

export interface EndpointLoad {
  /** Server and model, without secrets. */
  readonly identity: string;
  readonly inFlight: number;
  /** What the endpoint is given at present; at most `maxInFlight`. */
  readonly limit: number;
  readonly maxInFlight: number;
  /** Over the time since the first request. */
  readonly averageInFlight: number;
  /** `averageInFlight` / `maxInFlight`. */
  readonly saturation: number;
  readonly answered: number;
  readonly failed: number;
  readonly rateLimited: number;
  readonly state: 'open_for_traffic' | 'paused' | 'sick';
}

/** The figures of an endpoint over all runs, under the name that a run has for it. */
export interface EndpointStats extends EndpointLoad {
  /** Its name in the run that was asked for, else in the first that uses it. */
  readonly endpoint: string;
  /** Requests that wait and may go to it. */
  readonly waiting: number;
  /** Runs that use it. */
  readonly runs: number;
}
