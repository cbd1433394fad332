/**
 * What the queue was told to do and has not done yet. Owns one order per item: a later one is merged into it, so
 * that orders for one item are carried out one after the other and what waits is bounded by the items.
 *
 * Invariants: 1. an order is kept until the server has confirmed it; 2. at most `RUNNING_MAX` are under way, and
 * at most one for each item; a run
 * that is dropped waits for what is under way for it, and what follows waits for the drop; 3. beyond `ORDERS_MAX` orders are dropped, and `onOverflow` says so when there is
 * room again: whoever published then publishes again what nobody has.
 */
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { WorkItem } from '../../ports/work-queue.ts';

export type OrderKind = 'publish' | 'republish' | 'withdraw';

export type Order =
  | { readonly kind: OrderKind; readonly item: WorkItem }
  | { readonly kind: 'drop'; readonly runId: string };

export interface WorkOrdersOptions {
  readonly logger: Logger;
  /** Carries one out; rejects when it has to be tried again. */
  readonly perform: (order: Order) => Promise<void>;
  readonly isConnected: () => boolean;
  readonly onOverflow: () => void;
}

interface Entry {
  order: Order;
  /** Came while `order` was under way. */
  next: Order | null;
  isRunning: boolean;
}

const ORDERS_MAX = 100_000;
const RUNNING_MAX = 64;
const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 2_000;

export class WorkOrders {
  readonly #options: WorkOrdersOptions;
  readonly #entries = new Map<string, Entry>();
  /** Names of entries that wait for their turn, oldest first. */
  readonly #waiting = new Set<string>();
  #running = 0;
  #pauseMs = 0;
  #pause: NodeJS.Timeout | null = null;
  #hasOverflowed = false;
  #isClosed = false;

  constructor(options: WorkOrdersOptions) {
    this.#options = options;
  }

  add(order: Order): void {
    if (this.#isClosed) return;
    if (order.kind === 'drop') this.#forgetRun(order.runId);
    const name = nameOf(order);
    const entry = this.#entries.get(name);
    if (entry?.isRunning === true) entry.next = entry.next === null ? order : merged(entry.next, order);
    else if (entry !== undefined) entry.order = merged(entry.order, order);
    else this.#admit(name, order);
    this.#pump();
  }

  /** The server is back. */
  resume(): void {
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#pause = null;
    this.#pauseMs = 0;
    this.#pump();
  }

  close(): void {
    this.#isClosed = true;
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#entries.clear();
    this.#waiting.clear();
  }

  #admit(name: string, order: Order): void {
    if (this.#entries.size >= ORDERS_MAX) {
      this.#hasOverflowed = true;
      return;
    }
    this.#entries.set(name, { order, next: null, isRunning: false });
    this.#waiting.add(name);
  }

  #forgetRun(runId: string): void {
    for (const [name, entry] of this.#entries) {
      if (entry.order.kind === 'drop' || entry.order.item.runId !== runId) continue;
      entry.next = null;
      if (entry.isRunning) continue;
      this.#entries.delete(name);
      this.#waiting.delete(name);
    }
  }

  #pump(): void {
    if (this.#pause !== null || !this.#options.isConnected()) return;
    for (const name of this.#waiting) {
      if (this.#running >= RUNNING_MAX) return;
      const entry = this.#entries.get(name);
      if (entry === undefined || this.#mustWait(entry.order)) continue;
      this.#waiting.delete(name);
      void this.#run(name, entry);
    }
  }

  /** What is under way for a run would arrive after it was dropped, and what follows would be dropped with it. */
  #mustWait(order: Order): boolean {
    if (order.kind !== 'drop') return this.#entries.has(dropName(order.item.runId));
    if (this.#running === 0) return false;
    return [...this.#entries.values()].some(
      (entry) => entry.isRunning && entry.order.kind !== 'drop' && entry.order.item.runId === order.runId,
    );
  }

  async #run(name: string, entry: Entry): Promise<void> {
    entry.isRunning = true;
    this.#running += 1;
    try {
      await this.#options.perform(entry.order);
      this.#pauseMs = 0;
      this.#done(name, entry);
    } catch (error) {
      this.#failed(name, entry, error);
    } finally {
      this.#running -= 1;
    }
    this.#pump();
  }

  #done(name: string, entry: Entry): void {
    entry.isRunning = false;
    if (entry.next !== null) {
      entry.order = entry.next;
      entry.next = null;
      this.#waiting.add(name);
      return;
    }
    this.#entries.delete(name);
    if (!this.#hasOverflowed || this.#entries.size > 0) return;
    this.#hasOverflowed = false;
    this.#options.onOverflow();
  }

  #failed(name: string, entry: Entry, error: unknown): void {
    entry.isRunning = false;
    if (this.#isClosed) return;
    if (entry.next !== null) entry.order = merged(entry.order, entry.next);
    entry.next = null;
    this.#waiting.add(name);
    if (this.#pause !== null) return;
    if (this.#pauseMs === 0) {
      const text = `[nats] the work queue did not take an order, which is tried again: ${messageOf(error)}`;
      this.#options.logger.log('warn', 'cluster', text);
    }
    this.#pauseMs = Math.min(PAUSE_MAX_MS, Math.max(PAUSE_MIN_MS, this.#pauseMs * 2));
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#pump();
    }, this.#pauseMs);
  }
}

const dropName = (runId: string): string => JSON.stringify([runId]);

function nameOf(order: Order): string {
  if (order.kind === 'drop') return dropName(order.runId);
  const { runId, languageIndex, index } = order.item;
  return JSON.stringify([runId, languageIndex, index]);
}

/** One order that does what the two would do in turn. */
function merged(first: Order, second: Order): Order {
  if (second.kind !== 'publish') return second;
  return first.kind === 'withdraw' ? { kind: 'republish', item: second.item } : first;
}
