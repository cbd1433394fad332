/**
 * A clock that stands still until a test moves it. Timers run in the order of their time, then of
 * their making, so equal schedules give equal runs.
 */
import type { Clock } from '../../src/kernel/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Event-loop turns in a row without another immediate after which the process counts as idle. */
const QUIET_TURNS = 3;
/** A system that keeps itself busy for this many turns will not come to rest. */
const TURNS_MAX = 5_000_000;

export class SimulatedClock implements Clock {
  #nowMs: number;
  #made = 0;
  /** Sorted by time, then by order. */
  readonly #timers: Timer[] = [];

  constructor(startMs = 0) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#made, callback };
    this.#made += 1;
    this.#timers.splice(this.#indexOf(timer), 0, timer);
    return () => {
      const index = this.#indexOf(timer);
      if (this.#timers[index] === timer) this.#timers.splice(index, 1);
    };
  }

  /** Timers that have neither run nor been cancelled: a test's leak check. */
  get pending(): number {
    return this.#timers.length;
  }

  get nextAtMs(): number | null {
    return this.#timers[0]?.atMs ?? null;
  }

  /** Runs what falls due within `ms`, in order; each callback sees its own time. Synchronous. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (let due = this.#timers[0]; due !== undefined && due.atMs <= untilMs; due = this.#timers[0])
      this.#run(due);
    this.#nowMs = untilMs;
  }

  /**
   * Lets the process come to rest, then jumps to the next timer, until `predicate` holds. Work that
   * waits for a real file, socket or thread is not seen: simulations have none.
   * @throws Error when `limitMs` of simulated time have passed, or nothing is left that could happen.
   */
  async runUntil(predicate: () => boolean, { limitMs }: { readonly limitMs: number }): Promise<void> {
    const untilMs = this.#nowMs + limitMs;
    for (;;) {
      if (await settles(predicate)) return;
      const next = this.#timers[0];
      if (next === undefined)
        throw new Error(`nothing is left to happen at ${this.#nowMs} ms, and it does not hold`);
      if (next.atMs > untilMs) throw new Error(`it does not hold after ${limitMs} ms of simulated time`);
      this.#run(next);
    }
  }

  /** Lets everything that is ready happen, without moving the time. */
  async settle(): Promise<void> {
    await settles(() => false);
  }

  /** Where the timer stands, or belongs: there may be tens of thousands. */
  #indexOf({ atMs, order }: Timer): number {
    let [low, high] = [0, this.#timers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#timers[middle] as Timer;
      if (other.atMs < atMs || (other.atMs === atMs && other.order < order)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The first of all. */
  #run(timer: Timer): void {
    this.#timers.shift();
    this.#nowMs = Math.max(this.#nowMs, timer.atMs);
    timer.callback();
  }
}

/** True as soon as `predicate` holds, false when the process is idle and it does not. */
async function settles(predicate: () => boolean): Promise<boolean> {
  for (let turn = 0, quiet = 0; quiet < QUIET_TURNS; turn += 1) {
    if (predicate()) return true;
    if (turn > TURNS_MAX) throw new Error(`the process did not come to rest within ${TURNS_MAX} turns`);
    await new Promise((resolve) => setImmediate(resolve));
    quiet = process.getActiveResourcesInfo().includes('Immediate') ? 0 : quiet + 1;
  }
  return predicate();
}
