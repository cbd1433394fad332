/**
 * The stream that holds the work of all runs, and a durable consumer of it for each run. Owns the knowledge of
 * which of them are there; it makes what is missing, because a server may come back with nothing.
 */
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type Msg,
  nanos,
  RetentionPolicy,
  StorageType,
} from 'nats';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { QueueCounts, WorkItem } from '../../ports/work-queue.ts';
import { type Wire, withReplicas } from './wire.ts';

/** A request that got no answer by then is made again. */
const ANSWER_MS = 2_000;
/** How long an item that nobody renews stays in hand. */
const IN_HAND_MS = 8_000;
/** A pull waits this long at the server; shorter than `ANSWER_MS`, so that no item comes after it was given up. */
const PULL_MS = 1_500;
/**
 * A consumer that nobody pulls from for so long goes: a worker may have made it anew just after its run had
 * ended. A run whose workers were full for so long makes another, and what they have is offered again.
 */
const UNUSED_MS = 3_600_000;
/** Workers of one run that may wait for an item at the same time. */
const WAITING_PULLS_MAX = 8_192;

/** The item, or the subject, was not as expected. */
const WRONG_LAST_SEQUENCE = 10_071;
const NOT_FOUND = '404';
const SHORT_ANSWER_WORDS = 9;
/** No number: nobody answered. The others: not enabled on the server, or for the account. */
const SWITCHED_OFF: ReadonlySet<number | undefined> = new Set([undefined, 10_039, 10_076]);

/** An item as it came. */
export interface Pulled {
  readonly subject: string;
  /** In the stream. */
  readonly seq: number;
  readonly data: Uint8Array;
  /** Where what becomes of it is said. */
  readonly answerTo: string;
}

export class WorkStream {
  readonly #wire: Wire;
  readonly #onMadeAnew: () => void;
  /** What is there, or is being made: the stream by its name, consumers by theirs. */
  readonly #made = new Map<string, Promise<void>>();

  /** @throws DlgforgeError `transport` when the server has no JetStream. */
  static async open(wire: Wire, onMadeAnew: () => void): Promise<WorkStream> {
    try {
      const stream = new WorkStream(wire, onMadeAnew);
      await stream.#ensureStream();
      return stream;
    } catch (error) {
      throw jetStreamFault(wire, error);
    }
  }

  private constructor(wire: Wire, onMadeAnew: () => void) {
    this.#wire = wire;
    this.#onMadeAnew = onMadeAnew;
  }

  /** What was there may not be there any more. */
  doubt(): void {
    this.#made.clear();
  }

  ready(): Promise<void> {
    return this.#ensureStream();
  }

  /** Stores the item. `replace`: also when it is there already, queued or in hand. */
  async put(item: WorkItem, replace: boolean): Promise<void> {
    await this.#ensureStream();
    const expect = replace ? {} : { expect: { lastSubjectSequence: 0 } };
    try {
      await this.#client().publish(this.#subject(item), JSON.stringify(item), {
        ...expect,
        timeout: ANSWER_MS,
      });
    } catch (error) {
      if (apiCode(error) === WRONG_LAST_SEQUENCE) return;
      this.#forget(this.#name);
      throw error;
    }
  }

  /** Takes the item out, wherever it is. */
  async remove(item: WorkItem): Promise<void> {
    await this.#purge(this.#subject(item));
  }

  async drop(runId: string): Promise<void> {
    await this.#purge(this.#wire.subjects.workOf(runId));
    const consumer = this.#wire.subjects.workConsumer(runId);
    this.#forget(consumer);
    await (await this.#manager()).consumers.delete(this.#name, consumer).catch(unlessMissing);
  }

  /** The next item of the run; null when there was none for a while. */
  async pull(runId: string): Promise<Pulled | null> {
    const consumer = this.#wire.subjects.workConsumer(runId);
    await this.#ensureConsumer(runId, consumer);
    try {
      const subject = `$JS.API.CONSUMER.MSG.NEXT.${this.#name}.${consumer}`;
      const query = JSON.stringify({ batch: 1, expires: nanos(PULL_MS) });
      // Not by the library's shared inbox: the answer's subject is the item's.
      const message = await this.#wire.nats.request(subject, query, { timeout: ANSWER_MS, noMux: true });
      return readPulled(message);
    } catch (error) {
      // The server answers nothing when the consumer is not there.
      this.#forget(consumer);
      this.#forget(this.#name);
      throw error;
    }
  }

  /** @throws DlgforgeError `transport`. */
  async counts(): Promise<QueueCounts> {
    try {
      await this.#ensureStream();
      const { state } = await (await this.#manager()).streams.info(this.#name);
      let inHand = 0;
      let redelivered = 0;
      for await (const consumer of (await this.#manager()).consumers.list(this.#name)) {
        inHand += consumer.num_ack_pending;
        redelivered += consumer.num_redelivered;
      }
      // A stream of this kind holds an item until it is settled. What was replaced in hand counts there until
      // the server notices.
      return { waiting: Math.max(0, state.messages - inHand), inHand, redelivered };
    } catch (error) {
      this.#forget(this.#name);
      throw jetStreamFault(this.#wire, error);
    }
  }

  get #name(): string {
    return this.#wire.subjects.workStream;
  }

  /** Of the connection of now. */
  #client(): JetStreamClient {
    return this.#wire.nats.jetstream({ timeout: ANSWER_MS });
  }

  #manager(): Promise<JetStreamManager> {
    return this.#wire.nats.jetstreamManager({ timeout: ANSWER_MS, checkAPI: false });
  }

  #subject({ runId, languageIndex, index }: WorkItem): string {
    return this.#wire.subjects.workItem(runId, languageIndex, index);
  }

  async #purge(filter: string): Promise<void> {
    await this.#ensureStream();
    await (await this.#manager()).streams.purge(this.#name, { filter }).catch(unlessMissing);
  }

  #ensureStream(): Promise<void> {
    return this.#once(this.#name, async () => {
      const isThere = await (await this.#manager()).streams.info(this.#name).then(() => true, unlessMissing);
      if (isThere) return;
      const config = {
        name: this.#name,
        subjects: [this.#wire.subjects.work],
        retention: RetentionPolicy.Workqueue,
        storage: StorageType.File,
        // A newer message of an item takes the place of the older one.
        max_msgs_per_subject: 1,
        discard: DiscardPolicy.Old,
      };
      await withReplicas(this.#wire, async (num_replicas) =>
        (await this.#manager()).streams.add({ ...config, num_replicas }),
      );
      this.#onMadeAnew();
    });
  }

  async #ensureConsumer(runId: string, consumer: string): Promise<void> {
    await this.#ensureStream();
    await this.#once(consumer, async () => {
      const isThere = await (await this.#manager()).consumers
        .info(this.#name, consumer)
        .then(() => true, unlessMissing);
      if (isThere) return;
      await (await this.#manager()).consumers.add(this.#name, {
        durable_name: consumer,
        filter_subject: this.#wire.subjects.workOf(runId),
        ack_policy: AckPolicy.Explicit,
        deliver_policy: DeliverPolicy.All,
        ack_wait: nanos(IN_HAND_MS),
        max_ack_pending: -1,
        max_deliver: -1,
        max_waiting: WAITING_PULLS_MAX,
        inactive_threshold: nanos(UNUSED_MS),
      });
    });
  }

  /** Once for all who ask at the same time; a failure is not remembered. */
  #once(name: string, make: () => Promise<void>): Promise<void> {
    const known = this.#made.get(name);
    if (known !== undefined) return known;
    const made = make();
    this.#made.set(name, made);
    made.catch(() => {
      if (this.#made.get(name) === made) this.#made.delete(name);
    });
    return made;
  }

  #forget(name: string): void {
    this.#made.delete(name);
  }
}

function unlessMissing(error: unknown): false {
  if (error instanceof Error && 'code' in error && error.code === NOT_FOUND) return false;
  throw error;
}

function apiCode(error: unknown): number | undefined {
  const api = error instanceof Error && 'api_error' in error ? error.api_error : null;
  const code = api !== null && typeof api === 'object' && 'err_code' in api ? api.err_code : undefined;
  return typeof code === 'number' ? code : undefined;
}

const NONE_IN_TIME = 408;

/** Null when the server says that there was none. */
function readPulled(message: Msg): Pulled | null {
  const code = message.headers?.code ?? 0;
  if (code === NONE_IN_TIME) return null;
  if (code >= 300) throw new Error(`${code} ${message.headers?.description ?? ''}`);
  const answerTo = message.reply ?? '';
  const words = answerTo.split('.');
  // `$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.…`; newer servers put domain and account before the stream.
  const seq = Number(words[words.length > SHORT_ANSWER_WORDS ? 7 : 5]);
  return { subject: message.subject, seq, data: message.data, answerTo };
}

/** Why streams cannot be used. */
export function jetStreamFault(wire: Wire, error: unknown): DlgforgeError {
  const advice = 'start nats-server with -js, or with a jetstream block in its configuration';
  const isOff = isSwitchedOff(error);
  const text = isOff
    ? `NATS at ${wire.shown} has no JetStream; ${advice}`
    : `JetStream of NATS at ${wire.shown} cannot be used: ${messageOf(error)}; look into the server's log`;
  return new DlgforgeError('transport', text, { retryable: !isOff, cause: error });
}

/** Nobody answers, or the answer is that; a cluster without a leader has the same code and another number. */
function isSwitchedOff(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  return code === '503' && SWITCHED_OFF.has(apiCode(error));
}
