/**
 * What one worker takes from the queue of a run. Owns the deliveries in its hands, and the one pull that waits
 * for the next: one at a time, so that workers who wait get items in turn.
 *
 * Invariants: 1. no more in hand than the capacity, save what was there when it was made smaller; 2. what is in
 * hand is renewed until it is settled; 3. a delivery is settled once; 4. an item that arrives and cannot be held is
 * given back at once.
 */
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Delivery, WorkConsumer, WorkItem } from '../../ports/work-queue.ts';
import { parsed } from './payload.ts';
import type { Pulled, WorkStream } from './work-stream.ts';

export interface RunConsumerOptions {
  readonly stream: WorkStream;
  readonly logger: Logger;
  readonly runId: string;
  readonly capacity: number;
  readonly deliver: (delivery: Delivery) => void;
  readonly isConnected: () => boolean;
  /** Publishes an answer. */
  readonly answer: (subject: string, word: string) => void;
  readonly onClosed: () => void;
}

interface Held {
  /** A redelivery of what is in hand only brings a newer way to answer. */
  message: Pulled;
}

/** In the words of JetStream. */
const ANSWERS = { ack: '+ACK', nak: '-NAK', term: '+TERM', working: '+WPI' } as const;
type Answer = keyof typeof ANSWERS;

const RENEW_MS = 2_500;
const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 2_000;

export class RunConsumer implements WorkConsumer {
  readonly #options: RunConsumerOptions;
  readonly #inHand = new Map<string, Held>();
  readonly #renewal: NodeJS.Timeout;
  #capacity: number;
  /** The pull whose end starts the next; what an older one brings is still taken. */
  #pull: symbol | null = null;
  #pauseMs = 0;
  #pause: NodeJS.Timeout | null = null;
  #isClosed = false;

  constructor(options: RunConsumerOptions) {
    this.#options = options;
    this.#capacity = options.capacity;
    this.#renewal = setInterval(() => this.#renewAll(), RENEW_MS);
    this.#pullNext();
  }

  setCapacity(capacity: number): void {
    this.#capacity = capacity;
    this.#pullNext();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#renewal);
    if (this.#pause !== null) clearTimeout(this.#pause);
    for (const { message } of this.#inHand.values()) this.#answer(message, 'nak');
    this.#inHand.clear();
    this.#options.onClosed();
  }

  /** The server is back: a pull that waited there is forgotten. */
  restart(): void {
    this.#pull = null;
    this.#pauseMs = 0;
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#pause = null;
    this.#pullNext();
  }

  #pullNext(): void {
    const mayPull = this.#pull === null && this.#pause === null && !this.#isClosed;
    if (!mayPull || this.#inHand.size >= this.#capacity || !this.#options.isConnected()) return;
    void this.#pullOne();
  }

  async #pullOne(): Promise<void> {
    const pull = Symbol('pull');
    this.#pull = pull;
    try {
      const message = await this.#options.stream.pull(this.#options.runId);
      this.#pauseMs = 0;
      if (this.#pull === pull) this.#pull = null;
      if (message !== null) this.#arrived(message);
    } catch (error) {
      if (this.#pull !== pull) return;
      this.#pull = null;
      this.#pauseAfter(error);
    }
    this.#pullNext();
  }

  #pauseAfter(error: unknown): void {
    if (this.#isClosed || this.#pause !== null || !this.#options.isConnected()) return;
    const text = `[nats] no work could be asked for, which is tried again: ${messageOf(error)}`;
    this.#options.logger.log(this.#pauseMs === 0 ? 'debug' : 'warn', 'cluster', text);
    this.#pauseMs = Math.min(PAUSE_MAX_MS, Math.max(PAUSE_MIN_MS, this.#pauseMs * 2));
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#pullNext();
    }, this.#pauseMs);
  }

  #arrived(message: Pulled): void {
    const item = readItem(message, this.#options.runId);
    if (item === null) {
      const text = `[nats] the work queue of run ${this.#options.runId} had something in it that is no work item; it was thrown away`;
      this.#options.logger.log('warn', 'cluster', text);
      return this.#answer(message, 'term');
    }
    const name = nameOf(message);
    const known = this.#inHand.get(name);
    if (known !== undefined) {
      known.message = message;
      return;
    }
    if (this.#isClosed || this.#inHand.size >= this.#capacity) return this.#answer(message, 'nak');
    const held: Held = { message };
    this.#inHand.set(name, held);
    this.#deliver(this.#delivery(name, held, item));
  }

  #deliver(delivery: Delivery): void {
    try {
      this.#options.deliver(delivery);
    } catch (error) {
      const text = `[nats] a worker failed to take an item, which goes back: ${messageOf(error)}`;
      this.#options.logger.log('error', 'cluster', text, { error });
      delivery.release();
    }
  }

  #delivery(name: string, held: Held, item: WorkItem): Delivery {
    // Another delivery of the same name may have followed (invariant 3).
    const isInHand = (): boolean => this.#inHand.get(name) === held;
    const settle = (answer: Answer | null): void => {
      if (!isInHand()) return;
      this.#inHand.delete(name);
      if (answer !== null) this.#answer(held.message, answer);
      this.#pullNext();
    };
    return {
      item,
      renew: () => {
        if (isInHand()) this.#answer(held.message, 'working');
      },
      ack: () => settle('ack'),
      release: () => settle('nak'),
      forget: () => settle(null),
    };
  }

  #renewAll(): void {
    for (const { message } of this.#inHand.values()) this.#answer(message, 'working');
  }

  /** An answer that is lost means that the item comes again, and whoever leads the run knows better. */
  #answer(message: Pulled, answer: Answer): void {
    if (!this.#options.isConnected()) return;
    try {
      this.#options.answer(message.answerTo, ANSWERS[answer]);
    } catch (error) {
      this.#options.logger.log('debug', 'cluster', `[nats] ${answer} was not sent: ${messageOf(error)}`);
    }
  }
}

/** A stream that was made anew counts from the start again, so the number alone names nothing. */
const nameOf = ({ subject, seq }: Pulled): string => `${seq} ${subject}`;

/** Null for what is no item of this run (I10). */
function readItem(message: Pulled, runId: string): WorkItem | null {
  const item = parsed(message.data);
  if (item === null || typeof item !== 'object') return null;
  const { languageIndex, index, priority, ...rest } = item as Partial<Record<string, unknown>>;
  if (rest['runId'] !== runId || !isCount(languageIndex) || !isCount(index)) return null;
  return { runId, languageIndex, index, priority: typeof priority === 'number' ? priority : 0 };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
