import type { Role } from '../../dialogue/chat.ts';
import type { EndpointSpec } from '../../ports/model.ts';

/** What the holder of a permit tells about the endpoint when it gives the permit back. */
export type PermitOutcome =
  /** A response to this request, be it a refusal of the request. */
  | { readonly type: 'answered' }
  | { readonly type: 'rate_limited'; readonly retryAfterMs: number | null }
  | { readonly type: 'failed'; readonly retryAfterMs: number | null }
  | { readonly type: 'unusable'; readonly reason: string; readonly status: number }
  /** Nothing is known: cancelled, or the holder died. */
  | { readonly type: 'abandoned' };

/** Why nobody's requests of a role are answered here. */
export interface Unusable {
  readonly reason: string;
  readonly status: number;
  readonly untilMs: number;
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
/** A wrong key or model is asked again after this, in case that a person has acted. */
const UNUSABLE_MS = 300_000;

/**
 * Owns what the router knows about one endpoint: its load, its concurrency limit, its health.
 *
 * 1. At most `maxInFlight` permits are out (I7), whatever the limit and the health say.
 * 2. The limit falls by a quarter on a rate limit, once per round trip: a request sent before the
 *    last cut says nothing about the limit after it. It rises by one per round trip of successes,
 *    and while the endpoint proves itself by one per success.
 * 3. Consecutive failures open the circuit; then one probe at a time until one is answered. An
 *    endpoint that comes back starts with one request.
 */
export class EndpointState {
  readonly spec: EndpointSpec;
  inFlight = 0;
  /** Round robin in virtual time: grows by 1/weight with every grant, and the smallest is next. */
  share = 0;
  /** Number of the newest grant; ties go to the one that has waited longest. */
  lastGrant = 0;
  readonly unusable = new Map<Role, Unusable>();
  #limit: number;
  #proving: boolean;
  #successes = 0;
  #failures = 0;
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

  /** `cautious` starts small: worth it where other endpoints can take the traffic meanwhile. */
  constructor(spec: EndpointSpec, cautious: boolean) {
    this.spec = spec;
    this.#proving = cautious;
    this.#limit = cautious ? Math.min(CAUTIOUS_START, spec.maxInFlight) : spec.maxInFlight;
  }

  /** Share of what it may take now that would be in use with one more request. */
  get load(): number {
    return (this.inFlight + 1) / Math.max(1, Math.floor(this.#limit));
  }

  /** Requests per weight with one more; failures make it worse, so that failing fast attracts nothing. */
  get pressure(): number {
    return ((this.inFlight + 1) * (1 + this.#failures)) / this.spec.weight;
  }

  serves(role: Role, nowMs: number): boolean {
    if (!this.spec.roles.includes(role)) return false;
    const unusable = this.unusable.get(role);
    return unusable === undefined || nowMs >= unusable.untilMs;
  }

  hasRoom(nowMs: number): boolean {
    if (this.inFlight >= this.spec.maxInFlight || nowMs < this.#pausedUntilMs) return false;
    if (this.#health.type === 'closed') return this.inFlight < Math.floor(this.#limit);
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
   * Counts a grant at virtual time `virtual` and gives back the virtual time that it starts at, so
   * that an endpoint that was away does not catch up on what it missed (start-time fair queueing,
   * Goyal, Vin and Cheng 1996).
   */
  granted(grant: number, virtual: number, nowMs: number): number {
    this.#account(nowMs);
    this.#firstGrantMs ??= nowMs;
    this.inFlight += 1;
    this.lastGrant = grant;
    const start = Math.max(this.share, virtual);
    this.share = start + 1 / this.spec.weight;
    if (this.#health.type === 'open') this.#health = { type: 'probing', grant };
    return start;
  }

  /** A permit of `grant` came back; `newestGrant` is the number of the newest of all grants. */
  released(grant: number, newestGrant: number, outcome: PermitOutcome, role: Role, nowMs: number): void {
    this.#account(nowMs);
    const inFlightBefore = this.inFlight;
    this.inFlight -= 1;
    const probe = this.#health.type === 'probing' && this.#health.grant === grant;
    switch (outcome.type) {
      case 'answered':
        return this.#succeeded(inFlightBefore);
      case 'rate_limited':
        this.#pause(outcome.retryAfterMs, nowMs);
        return this.#cut(grant, newestGrant, inFlightBefore);
      case 'failed':
        this.#pause(outcome.retryAfterMs, nowMs);
        return this.#failedOnce(probe, nowMs);
      case 'unusable':
        this.unusable.set(role, {
          reason: outcome.reason,
          status: outcome.status,
          untilMs: nowMs + UNUSABLE_MS,
        });
        if (probe) this.#readmit();
        return;
      case 'abandoned':
        if (probe) this.#health = { type: 'open', untilMs: nowMs };
    }
  }

  stats(nowMs: number): EndpointStats {
    this.#account(nowMs);
    const elapsedMs = this.#firstGrantMs === null ? 0 : nowMs - this.#firstGrantMs;
    const averageInFlight = elapsedMs <= 0 ? 0 : this.#busyMs / elapsedMs;
    return {
      endpoint: this.spec.name,
      inFlight: this.inFlight,
      limit: Math.floor(this.#limit),
      maxInFlight: this.spec.maxInFlight,
      averageInFlight,
      saturation: averageInFlight / this.spec.maxInFlight,
      answered: this.#answered,
      failed: this.#failed,
      rateLimited: this.#rateLimited,
      state:
        this.#health.type === 'closed'
          ? this.#pausedUntilMs > nowMs
            ? 'paused'
            : 'open_for_traffic'
          : 'sick',
    };
  }

  #succeeded(inFlightBefore: number): void {
    this.#answered += 1;
    this.#failures = 0;
    if (this.#health.type !== 'closed') return this.#readmit();
    this.#successes += 1;
    const max = this.spec.maxInFlight;
    if (this.#proving) this.#limit += 1;
    // A limit that is not being used says nothing about what the endpoint could take.
    else if (inFlightBefore * 2 >= this.#limit) this.#limit += 1 / this.#limit;
    if (this.#limit < max) return;
    this.#limit = max;
    this.#proving = false;
    this.#openings = 0;
  }

  #failedOnce(probe: boolean, nowMs: number): void {
    this.#failed += 1;
    this.#failures += 1;
    if (this.#proving) this.#limit = Math.max(1, this.#limit / 2);
    const trusted = Math.max(FAILURES_TRUSTED, Math.ceil(this.#limit / 4));
    const allowed = this.#proving && this.#successes < TRUST ? FAILURES_UNTRUSTED : trusted;
    if (probe || (this.#health.type === 'closed' && this.#failures >= allowed)) this.#open(nowMs);
  }

  #open(nowMs: number): void {
    const pauseMs = Math.min(OPEN_MAX_MS, OPEN_MIN_MS * 2 ** Math.min(this.#openings, 20));
    this.#openings += 1;
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

  #pause(retryAfterMs: number | null, nowMs: number): void {
    if (retryAfterMs !== null) this.#pausedUntilMs = Math.max(this.#pausedUntilMs, nowMs + retryAfterMs);
  }

  #account(nowMs: number): void {
    this.#busyMs += this.inFlight * (nowMs - this.#changedMs);
    this.#changedMs = nowMs;
  }
}

export interface EndpointStats {
  readonly endpoint: string;
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
