import type { Role } from '../../dialogue/chat.ts';
import type { Clock } from '../../kernel/clock.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { EndpointStats, PermitOutcome } from './endpoint-state.ts';
import type { Decision, PermitRequest, Rejection } from './permits.ts';
import type { Pool } from './pool.ts';

/** A wish for a permit; times are spans, because the router may live on another machine's clock. */
export interface PermitWish extends Pick<PermitRequest, 'conversation' | 'priority' | 'avoid'> {
  readonly role: Role;
  readonly waitMs: number;
  readonly leaseMs: number;
}

export type PermitReply =
  | {
      readonly type: 'granted';
      readonly ticket: string;
      readonly endpoint: string;
      /** Nobody knows whether the endpoint is there: to be found out before anything is sent. */
      readonly isProbe?: true;
    }
  | { readonly type: 'rejected'; readonly rejection: RouterRejection };

/** `unreachable`: the router did not answer; it may later. */
export type RouterRejection = Rejection | { readonly type: 'unreachable'; readonly reason: string };

/** Where permits come from, wherever the pool lives. */
export interface EndpointRouter {
  /** @throws DlgforgeError `cancelled` when `signal` aborts; nothing is left waiting then. */
  acquire(wish: PermitWish, signal: AbortSignal): Promise<PermitReply>;
  /**
   * Asked right before the request is sent: the signal for the request, which aborts with `signal`, and when
   * the permit may be given to somebody else. Null: the permit must not be used now; release it and acquire
   * again.
   */
  use(ticket: string, signal: AbortSignal): AbortSignal | null;
  /** Every granted permit is released once. Never throws, never waits. */
  release(ticket: string, outcome: PermitOutcome): void;
  stats(): Promise<readonly EndpointStats[]>;
  /** How long altogether the router was away, or this node was; rises only. */
  awayMs(): number;
  /** Ends timers; waiting requests are rejected as cancelled. */
  close(): void;
}

export const acquireCancelled = (): DlgforgeError =>
  new DlgforgeError('cancelled', 'Waiting for an endpoint was cancelled.');

export const unreachableRouter = (reason: string): PermitReply => ({
  type: 'rejected',
  rejection: { type: 'unreachable', reason: `the endpoint router does not answer: ${reason}` },
});

/** Wakes a pool when time alone changes something. Owns one timer at most. */
export class PoolAlarm {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #ring: () => void;
  #atMs = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | null = null;

  constructor(pool: Pool, clock: Clock, ring: () => void) {
    this.#pool = pool;
    this.#clock = clock;
    this.#ring = ring;
  }

  /** After every change of the pool. A timer that is too early stays: it looks again when it rings. */
  arm(nowMs: number): void {
    const wake = this.#pool.nextWakeMs(nowMs);
    if (wake === null || wake >= this.#atMs) return;
    this.#cancel?.();
    this.#atMs = wake;
    this.#cancel = this.#clock.schedule(Math.max(0, wake - nowMs), () => {
      this.stop();
      this.#ring();
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#atMs = Number.POSITIVE_INFINITY;
  }
}

/** A pool of this process alone, without an actor around it: for tools, checks and tests. */
export function createLocalRouter(pool: Pool, clock: Clock, runId: string): EndpointRouter {
  const waiting = new Map<string, (reply: PermitReply) => void>();
  let tickets = 0;
  /** `nowMs` is the time that the pool was given: with a later one, what came due in between would ring nobody. */
  const settle = (decisions: readonly Decision[], nowMs: number): void => {
    for (const decision of decisions) {
      const resolve = waiting.get(decision.ticket);
      waiting.delete(decision.ticket);
      resolve?.(decision.type === 'granted' ? decision : { type: 'rejected', rejection: decision.rejection });
    }
    alarm.arm(nowMs);
  };
  const at = (decide: (nowMs: number) => readonly Decision[]): void => {
    const nowMs = clock.now();
    settle(decide(nowMs), nowMs);
  };
  const alarm = new PoolAlarm(pool, clock, () => at((nowMs) => pool.tick(nowMs)));
  return {
    acquire(wish, signal) {
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(acquireCancelled());
        tickets += 1;
        const ticket = String(tickets);
        const abort = (): void => {
          waiting.delete(ticket);
          reject(acquireCancelled());
          at((nowMs) => pool.cancel(ticket, nowMs));
        };
        signal.addEventListener('abort', abort, { once: true });
        waiting.set(ticket, (reply) => {
          signal.removeEventListener('abort', abort);
          resolve(reply);
        });
        at((nowMs) => pool.acquire({ ...wish, ticket, runId, deadlineAtMs: nowMs + wish.waitMs }, nowMs));
      });
    },
    use: (_ticket, signal) => signal,
    release: (ticket, outcome) => at((nowMs) => pool.release(ticket, outcome, nowMs)),
    stats: async () => pool.stats(clock.now(), runId),
    awayMs: () => 0,
    close() {
      for (const ticket of waiting.keys()) at((nowMs) => pool.cancel(ticket, nowMs));
      alarm.stop();
    },
  };
}
