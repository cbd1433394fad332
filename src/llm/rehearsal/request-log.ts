import { closeSync, openSync, writeSync } from 'node:fs';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { BoundedMap } from './bounded-map.ts';
import type { RehearsalOptions } from './options.ts';
import type { RehearsedRole } from './role.ts';

export type Route = 'chat' | 'embeddings' | 'rerank';

/** What became of a request. Those of status 200 were paid, whatever the client made of them. */
export type Outcome =
  | 'answered'
  | 'truncated'
  | 'malformed'
  | 'wrong_type'
  | 'empty'
  | 'prose'
  | 'duplicate'
  | 'rate_limited'
  | 'over_capacity'
  | 'server_error'
  | 'reset'
  | 'client_gone'
  | 'refused';

/** A line of the log; `server.ts` explains its fields. */
export interface LogEntry {
  readonly event: 'arrival' | 'completion' | 'reset';
  readonly seq: number;
  readonly at_ms: number;
  readonly route: Route;
  readonly key: string;
  readonly role: RehearsedRole;
  readonly model: string;
  readonly arrival: number;
  readonly in_flight: number;
  readonly outcome?: Outcome;
  readonly status?: number;
  readonly stalled?: boolean;
  readonly tool_calls?: number;
  readonly prompt_tokens?: number;
  readonly cached_tokens?: number;
  readonly completion_tokens?: number;
  /** Latency, stall and token pace that were drawn for it; waiting for a place not counted. */
  readonly service_ms?: number;
  readonly elapsed_ms?: number;
}

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

interface Counts {
  maxInFlight: number;
  requests: number;
  answered: number;
  stalled: number;
  outcomes: Partial<Record<Outcome, number>>;
  roles: Partial<Record<RehearsedRole, number>>;
  routes: Record<Route, number>;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  newKeys: number;
}

const noCounts = (): Counts => ({
  maxInFlight: 0,
  requests: 0,
  answered: 0,
  stalled: 0,
  outcomes: {},
  roles: {},
  routes: { chat: 0, embeddings: 0, rerank: 0 },
  promptTokens: 0,
  cachedTokens: 0,
  completionTokens: 0,
  newKeys: 0,
});

export interface Arrival {
  readonly seq: number;
  readonly arrival: number;
  readonly atMs: number;
  readonly startedMs: number;
  readonly route: Route;
  readonly key: string;
  readonly role: RehearsedRole;
  readonly model: string;
}

export type Completed = Required<Pick<LogEntry, 'outcome' | 'status'>> &
  Pick<
    LogEntry,
    'stalled' | 'tool_calls' | 'prompt_tokens' | 'cached_tokens' | 'completion_tokens' | 'service_ms'
  >;

/**
 * Owns everything that is counted about requests, the latest log entries, and the log file.
 *
 * Invariants: each arrival gets exactly one completion; a line is written to the file, by one
 * write, before the bytes that it tells of go out, so a killed client cannot have an answer that
 * the file does not know.
 */
export class RequestLog {
  readonly #options: () => RehearsalOptions;
  readonly #file: number | null;
  readonly #keys: BoundedMap<string, KeyCount>;
  #entries: LogEntry[] = [];
  #counts = noCounts();
  #inFlight = 0;
  #seq = 0;

  /** @throws DlgforgeError `output` when the log file cannot be opened. */
  constructor(options: () => RehearsalOptions, logFile: string | undefined) {
    this.#options = options;
    this.#keys = new BoundedMap(() => options().key_limit);
    this.#file = logFile === undefined ? null : openLog(logFile);
  }

  arrived(route: Route, key: string, role: RehearsedRole, model: string): Arrival {
    const arrival = route === 'chat' && key !== '' ? this.#countArrival(key) : 1;
    this.#seq += 1;
    this.#counts.routes[route] += 1;
    if (route === 'chat') {
      this.#counts.requests += 1;
      this.#inFlight += 1;
      this.#counts.maxInFlight = Math.max(this.#counts.maxInFlight, this.#inFlight);
    }
    const seen = {
      seq: this.#seq,
      arrival,
      atMs: Date.now(),
      startedMs: performance.now(),
      route,
      key,
      role,
      model,
    };
    this.#write({ event: 'arrival', at_ms: seen.atMs, in_flight: this.#inFlight, ...fieldsOf(seen) });
    return seen;
  }

  completed(seen: Arrival, completed: Completed): void {
    const { outcome, status } = completed;
    if (seen.route === 'chat') this.#inFlight -= 1;
    this.#counts.outcomes[outcome] = (this.#counts.outcomes[outcome] ?? 0) + 1;
    if (completed.stalled === true) this.#counts.stalled += 1;
    if (seen.route === 'chat' && status === 200) this.#countAnswer(seen, completed);
    this.#write({
      event: 'completion',
      at_ms: Date.now(),
      in_flight: this.#inFlight,
      ...fieldsOf(seen),
      ...completed,
      elapsed_ms: rounded(performance.now() - seen.startedMs),
    });
  }

  entries(): readonly LogEntry[] {
    const limit = this.#options().log_limit;
    return limit === 0 ? [] : this.#entries.slice(-limit);
  }

  stats(gate: { readonly running: number; readonly waiting: number }): RehearsalStats {
    const counts = this.#counts;
    return {
      in_flight: this.#inFlight,
      max_in_flight: counts.maxInFlight,
      running: gate.running,
      waiting: gate.waiting,
      requests: counts.requests,
      answered: counts.answered,
      stalled: counts.stalled,
      outcomes: { ...counts.outcomes },
      roles: { ...counts.roles },
      routes: { ...counts.routes },
      prompt_tokens: counts.promptTokens,
      cached_tokens: counts.cachedTokens,
      completion_tokens: counts.completionTokens,
      distinct_keys: this.#keys.size,
      keys_forgotten: counts.newKeys - this.#keys.size,
      per_key: Object.fromEntries(this.#keys.entries()),
    };
  }

  /** Forgets what was counted; requests in flight stay in flight, and the file says where it happened. */
  reset(): void {
    this.#entries = [];
    this.#counts = { ...noCounts(), maxInFlight: this.#inFlight };
    this.#keys.clear();
    this.#seq += 1;
    this.#append(`${JSON.stringify({ event: 'reset', seq: this.#seq, at_ms: Date.now() })}\n`);
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
  }

  #countArrival(key: string): number {
    const known = this.#keys.get(key);
    if (known === undefined) this.#counts.newKeys += 1;
    const arrivals = (known?.arrivals ?? 0) + 1;
    this.#keys.set(key, { arrivals, answered: known?.answered ?? 0 });
    return arrivals;
  }

  #countAnswer(seen: Arrival, completed: Completed): void {
    const counts = this.#counts;
    counts.answered += 1;
    counts.roles[seen.role] = (counts.roles[seen.role] ?? 0) + 1;
    counts.promptTokens += completed.prompt_tokens ?? 0;
    counts.cachedTokens += completed.cached_tokens ?? 0;
    counts.completionTokens += completed.completion_tokens ?? 0;
    const known = this.#keys.get(seen.key);
    if (known !== undefined) this.#keys.set(seen.key, { ...known, answered: known.answered + 1 });
  }

  #write(entry: LogEntry): void {
    const limit = this.#options().log_limit;
    if (limit > 0) this.#entries.push(entry);
    if (this.#entries.length >= 2 * limit) this.#entries = this.entries().slice();
    if (this.#file !== null) this.#append(`${JSON.stringify(entry)}\n`);
  }

  #append(line: string): void {
    if (this.#file !== null) writeSync(this.#file, line);
  }
}

const rounded = (ms: number): number => Math.round(ms * 100) / 100;

const fieldsOf = (seen: Arrival) => ({
  seq: seen.seq,
  route: seen.route,
  key: seen.key,
  role: seen.role,
  model: seen.model,
  arrival: seen.arrival,
});

function openLog(path: string): number {
  try {
    return openSync(path, 'a');
  } catch (error) {
    throw new DlgforgeError(
      'output',
      `The rehearsal log ${path} cannot be opened (${messageOf(error)}). Give a path in a folder that can be written to.`,
      { cause: error },
    );
  }
}
