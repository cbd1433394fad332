/**
 * The work queue on JetStream: one stream for all runs of a namespace, in which an item has one message, and a
 * durable consumer for each run. Dispatch, not truth: it may lose everything, and says so with `onLoss`.
 *
 * Owns the orders that the server has not confirmed and the consumers of this process. Works on while the server
 * is away: orders wait, deliveries stay in hand, and both go on when it is back, with or without what it had.
 */
import { randomUUID } from 'node:crypto';
import { messageOf } from '../../kernel/errors.ts';
import type { Delivery, QueueCounts, WorkConsumer, WorkItem, WorkQueue } from '../../ports/work-queue.ts';
import { saidAll, type Wire } from './wire.ts';
import { RunConsumer } from './work-consumer.ts';
import { type Order, WorkOrders } from './work-orders.ts';
import { WorkStream } from './work-stream.ts';

const PAUSE_MS = 250;

export class NatsWorkQueue implements WorkQueue {
  readonly #wire: Wire;
  readonly #id: string;
  readonly #stream: WorkStream;
  readonly #orders: WorkOrders;
  readonly #consumers = new Set<RunConsumer>();
  readonly #lossListeners = new Set<() => void>();
  readonly #stopListening: () => void;
  readonly #stopHearing: () => void;
  #retry: NodeJS.Timeout | null = null;
  #isClosed = false;

  /** @throws DlgforgeError `transport` when the server has no JetStream. */
  static async open(wire: Wire): Promise<NatsWorkQueue> {
    const id = randomUUID();
    let queue: NatsWorkQueue | null = null;
    const stream = await WorkStream.open(wire, () => {
      // The others cannot see that what they published is gone.
      wire.nats.publish(wire.subjects.workLost, id);
      queue?.tellLoss();
    });
    queue = new NatsWorkQueue(wire, id, stream);
    return queue;
  }

  private constructor(wire: Wire, id: string, stream: WorkStream) {
    this.#wire = wire;
    this.#id = id;
    this.#stream = stream;
    this.#orders = new WorkOrders({
      logger: wire.logger,
      perform: (order) => this.#perform(order),
      isConnected: () => wire.isConnected,
      onOverflow: () => this.tellLoss(),
    });
    this.#stopListening = wire.onRestored(() => void this.#restored());
    this.#stopHearing = wire.hear(wire.subjects.workLost, (message) => {
      if (message.string() !== this.#id) this.#lostByServer();
    });
  }

  publish(item: WorkItem): void {
    this.#orders.add({ kind: 'publish', item });
  }

  republish(item: WorkItem): void {
    this.#orders.add({ kind: 'republish', item });
  }

  withdraw(item: WorkItem): void {
    this.#orders.add({ kind: 'withdraw', item });
  }

  drop(runId: string): void {
    this.#orders.add({ kind: 'drop', runId });
  }

  consume(runId: string, capacity: number, deliver: (delivery: Delivery) => void): WorkConsumer {
    const consumer: RunConsumer = new RunConsumer({
      stream: this.#stream,
      logger: this.#wire.logger,
      runId,
      capacity,
      deliver,
      isConnected: () => this.#wire.isConnected && !this.#isClosed,
      // By the connection of now, which may not be the one that brought the item.
      answer: (subject, word) => this.#wire.nats.publish(subject, word),
      onClosed: () => void this.#consumers.delete(consumer),
    });
    this.#consumers.add(consumer);
    return consumer;
  }

  onLoss(listener: () => void): () => void {
    this.#lossListeners.add(listener);
    return () => void this.#lossListeners.delete(listener);
  }

  counts(): Promise<QueueCounts> {
    return this.#stream.counts();
  }

  /** Gives back what is in hand. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    for (const consumer of this.#consumers) consumer.close();
    this.#isClosed = true;
    this.#stopListening();
    this.#orders.close();
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#stopHearing();
    await saidAll(this.#wire);
  }

  tellLoss(): void {
    for (const listener of this.#lossListeners) {
      try {
        listener();
      } catch (error) {
        const text = `[nats] a listener for the queue's loss failed: ${messageOf(error)}`;
        this.#wire.logger.log('error', 'cluster', text, { error });
      }
    }
  }

  async #perform(order: Order): Promise<void> {
    switch (order.kind) {
      case 'publish':
        return await this.#stream.put(order.item, false);
      case 'republish':
        return await this.#stream.put(order.item, true);
      case 'withdraw':
        return await this.#stream.remove(order.item);
      case 'drop':
        return await this.#stream.drop(order.runId);
    }
  }

  /** The server is back, maybe without what it had. */
  async #restored(): Promise<void> {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
    this.#stream.doubt();
    try {
      await this.#stream.ready();
    } catch (error) {
      if (this.#isClosed || !this.#wire.isConnected) return;
      const text = `[nats] the work queue is not back yet: ${messageOf(error)}`;
      this.#wire.logger.log('warn', 'cluster', text);
      this.#retry ??= setTimeout(() => void this.#restored(), PAUSE_MS);
      return;
    }
    if (this.#isClosed) return;
    this.#goOn();
  }

  /** Another process found that the stream was gone and made it anew. */
  #lostByServer(): void {
    this.#stream.doubt();
    this.#goOn();
  }

  #goOn(): void {
    this.#orders.resume();
    for (const consumer of this.#consumers) consumer.restart();
    this.tellLoss();
  }
}
