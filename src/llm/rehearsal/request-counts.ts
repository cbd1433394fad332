import { BoundedMap } from './bounded-map.ts';
import type { Arrival, Completed, Outcome, Route } from './request-entry.ts';
import type { RehearsedRole } from './role.ts';

export interface KeyCount {
  readonly arrivals: number;
  readonly answered: number;
}

export interface RehearsalStats {
  readonly in_flight: number;
  readonly max_in_flight: number;
  readonly running: number;
  readonly waiting: number;
  /** Chat requests that arrived, and those answered with status 200. */
  readonly requests: number;
  readonly answered: number;
  readonly stalled: number;
  readonly outcomes: Readonly<Partial<Record<Outcome, number>>>;
  /** Answered chat requests by role. */
  readonly roles: Readonly<Partial<Record<RehearsedRole, number>>>;
  readonly routes: Readonly<Record<Route, number>>;
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  readonly distinct_keys: number;
  readonly keys_forgotten: number;
  readonly per_key: Readonly<Record<string, KeyCount>>;
}

/** Owns the sums over requests since the last reset, and the counts per key, which are bounded. */
export class RequestCounts {
  readonly #keys: BoundedMap<string, KeyCount>;
  readonly #outcomes: Partial<Record<Outcome, number>> = {};
  readonly #roles: Partial<Record<RehearsedRole, number>> = {};
  readonly #routes: Record<Route, number> = { chat: 0, embeddings: 0, rerank: 0 };
  #maxInFlight: number;
  #requests = 0;
  #answered = 0;
  #stalled = 0;
  #promptTokens = 0;
  #cachedTokens = 0;
  #completionTokens = 0;
  #newKeys = 0;

  /** `inFlight`: chat requests that are on their way already. */
  constructor(keyLimit: () => number, inFlight: number) {
    this.#keys = new BoundedMap(keyLimit);
    this.#maxInFlight = inFlight;
  }

  /** How often `key` has arrived, this time included; 1 for requests without a key. */
  arrived(route: Route, key: string, inFlight: number): number {
    this.#routes[route] += 1;
    if (route !== 'chat') return 1;
    this.#requests += 1;
    this.#maxInFlight = Math.max(this.#maxInFlight, inFlight);
    if (key === '') return 1;
    const known = this.#keys.get(key);
    if (known === undefined) this.#newKeys += 1;
    const arrivals = (known?.arrivals ?? 0) + 1;
    this.#keys.set(key, { arrivals, answered: known?.answered ?? 0 });
    return arrivals;
  }

  completed(seen: Arrival, completed: Completed): void {
    const { outcome } = completed;
    this.#outcomes[outcome] = (this.#outcomes[outcome] ?? 0) + 1;
    if (completed.stalled === true) this.#stalled += 1;
    if (seen.route !== 'chat' || completed.status !== 200) return;
    this.#answered += 1;
    this.#roles[seen.role] = (this.#roles[seen.role] ?? 0) + 1;
    this.#promptTokens += completed.prompt_tokens ?? 0;
    this.#cachedTokens += completed.cached_tokens ?? 0;
    this.#completionTokens += completed.completion_tokens ?? 0;
    const known = this.#keys.get(seen.key);
    if (known !== undefined) this.#keys.set(seen.key, { ...known, answered: known.answered + 1 });
  }

  stats(now: Pick<RehearsalStats, 'in_flight' | 'running' | 'waiting'>): RehearsalStats {
    return {
      in_flight: now.in_flight,
      max_in_flight: this.#maxInFlight,
      running: now.running,
      waiting: now.waiting,
      requests: this.#requests,
      answered: this.#answered,
      stalled: this.#stalled,
      outcomes: { ...this.#outcomes },
      roles: { ...this.#roles },
      routes: { ...this.#routes },
      prompt_tokens: this.#promptTokens,
      cached_tokens: this.#cachedTokens,
      completion_tokens: this.#completionTokens,
      distinct_keys: this.#keys.size,
      keys_forgotten: this.#newKeys - this.#keys.size,
      per_key: Object.fromEntries(this.#keys.entries()),
    };
  }
}
