import { closeSync, openSync, writeSync } from 'node:fs';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { RehearsalOptions } from './options.ts';
import { type RehearsalStats, RequestCounts } from './request-counts.ts';
import type { Arrival, Completed, LogEntry, Route } from './request-entry.ts';
import type { RehearsedRole } from './role.ts';

/**
 * Owns the numbers of requests, how many are in flight, the latest log entries, and the log file.
 *
 * Invariants: each arrival gets exactly one completion; a line is written to the file, by one
 * write, before the bytes that it tells of go out, so a killed client cannot have an answer that
 * the file does not know.
 */
export class RequestLog {
  readonly #options: () => RehearsalOptions;
  readonly #file: number | null;
  #entries: LogEntry[] = [];
  #counts: RequestCounts;
  #inFlight = 0;
  #seq = 0;

  /** @throws DlgforgeError `output` when the log file cannot be opened. */
  constructor(options: () => RehearsalOptions, logFile: string | undefined) {
    this.#options = options;
    this.#counts = this.#freshCounts();
    this.#file = logFile === undefined ? null : openLog(logFile);
  }

  arrived(route: Route, key: string, role: RehearsedRole, model: string): Arrival {
    this.#seq += 1;
    if (route === 'chat') this.#inFlight += 1;
    const arrival = this.#counts.arrived(route, key, this.#inFlight);
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
    if (seen.route === 'chat') this.#inFlight -= 1;
    this.#counts.completed(seen, completed);
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
    return this.#counts.stats({ in_flight: this.#inFlight, running: gate.running, waiting: gate.waiting });
  }

  /** Forgets what was counted; requests in flight stay in flight, and the file says where it happened. */
  reset(): void {
    this.#entries = [];
    this.#counts = this.#freshCounts();
    this.#seq += 1;
    this.#append(`${JSON.stringify({ event: 'reset', seq: this.#seq, at_ms: Date.now() })}\n`);
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
  }

  #freshCounts(): RequestCounts {
    return new RequestCounts(() => this.#options().key_limit, this.#inFlight);
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
