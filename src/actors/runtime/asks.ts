/**
 * Both ends of an ask. `PendingAsks` owns what this node's askers wait for; `ReceivedAsks` owns what
 * this node's actors have been asked, so that an asker hears at once when its answer can't come.
 *
 * Invariants: 1. every pending ask has a deadline; 2. settling removes the entry and its timer, so
 * that nothing is left once all asks have settled; 3. correlations are unique over all systems and
 * their restarts, so a late answer reaches nobody.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../kernel/clock.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { type Counter, noMetrics } from '../../kernel/metrics.ts';

const PENDING_MAX = 100_000;
const SWEEP_MIN = 1_024;

interface Pending extends PromiseWithResolvers<never> {
  readonly node: string;
  readonly cancelDeadline: () => void;
}

export class PendingAsks {
  readonly #clock: Clock;
  readonly #timedOut: Counter;
  readonly #onSettled: (correlation: string) => void;
  readonly #pending = new Map<string, Pending>();
  readonly #prefix = randomBytes(8).toString('base64url');
  #next = 0;

  constructor(
    clock: Clock,
    onSettled: (correlation: string) => void,
    timedOut: Counter = noMetrics.counter('dlgforge_asks_timed_out_total'),
  ) {
    this.#clock = clock;
    this.#timedOut = timedOut;
    this.#onSettled = onSettled;
  }

  get size(): number {
    return this.#pending.size;
  }

  get hasRoom(): boolean {
    return this.#pending.size < PENDING_MAX;
  }

  nextCorrelation(): string {
    this.#next += 1;
    return `${this.#prefix}.${this.#next}`;
  }

  /** Only when there is room. */
  open<R>(correlation: string, node: string, path: string, timeoutMs: number): Promise<R> {
    const waiting = Promise.withResolvers<never>();
    const cancelDeadline = this.#clock.schedule(timeoutMs, () => {
      this.#timedOut.add();
      this.reject(correlation, late(node, path, timeoutMs));
    });
    this.#pending.set(correlation, { ...waiting, node, cancelDeadline });
    return waiting.promise;
  }

  resolve(correlation: string, reply: unknown): void {
    this.#take(correlation)?.resolve(reply as never);
  }

  reject(correlation: string, error: unknown): void {
    this.#take(correlation)?.reject(error);
  }

  rejectNode(node: string, error: DlgforgeError): void {
    for (const [correlation, pending] of this.#pending)
      if (pending.node === node) this.reject(correlation, error);
  }

  rejectAll(error: DlgforgeError): void {
    for (const [correlation, { promise }] of this.#pending) {
      ignoreRejection(promise);
      this.reject(correlation, error);
    }
  }

  #take(correlation: string): Pending | undefined {
    const pending = this.#pending.get(correlation);
    if (pending === undefined) return undefined;
    this.#pending.delete(correlation);
    pending.cancelDeadline();
    this.#onSettled(correlation);
    return pending;
  }
}

/** Actors that have ended no longer listen, and that is not an unhandled fault. */
function ignoreRejection(promise: Promise<unknown>): void {
  promise.catch(() => undefined);
}

function late(node: string, path: string, timeoutMs: number): DlgforgeError {
  const text = `${node}/${path} did not answer within ${timeoutMs} ms; \`dlgforge actors tree\` shows what it is doing`;
  return new DlgforgeError('timeout', text, { retryable: true });
}

/** An ask as it arrives. */
export interface Asked {
  readonly correlation: string;
  /** The node where the asker waits. */
  readonly from: string;
  readonly timeoutMs: number;
}

/** An ask at its receiver, until it is answered. */
export interface ReceivedAsk {
  readonly correlation: string;
  /** The node where the asker waits. */
  readonly from: string;
  readonly expiresAtMs: number;
  /** The receiver's open asks, which this one leaves when it is answered. */
  readonly openAtReceiver: Set<ReceivedAsk>;
  /** True from the moment its handler began: a restart can no longer answer it. */
  taken: boolean;
}

export class ReceivedAsks {
  readonly #clock: Clock;
  readonly #received = new Map<string, ReceivedAsk>();
  #sweepAt = SWEEP_MIN;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add({ correlation, from, timeoutMs }: Asked, openAtReceiver: Set<ReceivedAsk>): ReceivedAsk {
    if (this.#received.size >= this.#sweepAt) this.#sweep();
    const expiresAtMs = this.#clock.now() + timeoutMs;
    const ask: ReceivedAsk = { correlation, from, expiresAtMs, openAtReceiver, taken: false };
    this.#received.set(correlation, ask);
    openAtReceiver.add(ask);
    return ask;
  }

  /** Answered, failed, or no longer waited for. */
  settle(correlation: string): void {
    const ask = this.#received.get(correlation);
    if (ask === undefined) return;
    this.#received.delete(correlation);
    ask.openAtReceiver.delete(ask);
  }

  /** Asks that another node answered, or that nobody did: their askers have stopped waiting. */
  #sweep(): void {
    const nowMs = this.#clock.now();
    for (const ask of this.#received.values()) if (ask.expiresAtMs <= nowMs) this.settle(ask.correlation);
    this.#sweepAt = Math.max(SWEEP_MIN, this.#received.size * 2);
  }
}
