/**
 * What a node has said and the network has not carried yet. Owns the batches that wait for the end of this
 * turn of the event loop, and, while the server cannot be reached, what is kept for its return.
 *
 * Invariants: 1. order per destination is the order of sending; 2. what is sent to one destination in one turn is
 * one publish or two, unless it is too big for that; 3. what waits is bounded: beyond `HELD_BYTES_MAX`, or
 * when it is older than `HELD_MS`, it is dropped and counted, because old messages are worse than none.
 */
import { randomUUID } from 'node:crypto';
import { InvariantError, messageOf } from '../../kernel/errors.ts';
import { batchPayload, ENVELOPE_BYTES_MAX, PUBLISH_BYTES_MAX, partPayloads } from './payload.ts';
import type { Wire } from './wire.ts';

/** Kept while the server cannot be reached. */
const HELD_BYTES_MAX = 16 * 1024 * 1024;
const HELD_MS = 5_000;
/** Written, and not confirmed by the server yet: a server that takes nothing makes this process drop, not grow. */
const UNCONFIRMED_BYTES_MAX = 2 * ENVELOPE_BYTES_MAX;
/** Confirmation is asked for this often. */
const CONFIRM_BYTES = 1024 * 1024;
const LANES_MAX = 10_000;
/** A comma or bracket for each envelope. */
const SEPARATOR_BYTES = 1;

/** The way to one destination. */
interface Lane {
  readonly subject: string;
  readonly back: string;
  waiting: string[];
  waitingBytes: number;
}

interface Batch {
  readonly lane: Lane;
  /** More than one when they are the parts of one envelope, which nobody can use unless it is whole. */
  readonly payloads: readonly Buffer[];
  readonly envelopes: number;
  readonly atMs: number;
}

export class Outbox {
  readonly #wire: Wire;
  readonly #node: string;
  readonly #stopListening: () => void;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes with something waiting; a flush is scheduled while there are any. */
  readonly #ready = new Set<Lane>();
  /** In this turn. */
  #isScheduled = false;
  #held: Batch[] = [];
  #heldBytes = 0;
  #unconfirmedBytes = 0;
  #unaskedBytes = 0;
  #dropped = 0;
  #publishes = 0;

  constructor(wire: Wire, node: string) {
    this.#wire = wire;
    this.#node = node;
    this.#stopListening = wire.onRestored(() => this.#release());
  }

  /** Envelopes that were dropped before they left. */
  get dropped(): number {
    return this.#dropped;
  }

  get publishes(): number {
    return this.#publishes;
  }

  /** @throws InvariantError when it is too big. */
  add(toNode: string, encoded: string): void {
    const bytes = Buffer.byteLength(encoded) + SEPARATOR_BYTES;
    if (bytes > ENVELOPE_BYTES_MAX)
      throw new InvariantError(
        `invariant broken: a message of ${bytes} bytes is sent, the most is ${ENVELOPE_BYTES_MAX}`,
      );
    const lane = this.#lane(toNode);
    if (lane.waitingBytes + bytes >= PUBLISH_BYTES_MAX) this.#dispatch(lane);
    if (bytes >= PUBLISH_BYTES_MAX) {
      const payloads = partPayloads(randomUUID(), encoded);
      return this.#carry({ lane, payloads, envelopes: 1, atMs: performance.now() });
    }
    this.#ready.add(lane);
    this.#schedule();
    lane.waiting.push(encoded);
    lane.waitingBytes += bytes;
  }

  /**
   * What comes first in a turn leaves as soon as whoever speaks now has finished, so that a lone question does not
   * wait for the turn's end; what comes later in the turn leaves with it.
   */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => this.flush());
    setImmediate(() => {
      this.#isScheduled = false;
      this.flush();
    });
  }

  /** Hands what waits to the connection. */
  flush(): void {
    for (const lane of this.#ready) this.#dispatch(lane);
    this.#ready.clear();
  }

  /** The way to a node that is gone is not kept. */
  forget(node: string): void {
    const lane = this.#lanes.get(node);
    if (lane === undefined) return;
    this.#dispatch(lane);
    this.#ready.delete(lane);
    this.#lanes.delete(node);
  }

  close(): void {
    this.flush();
    this.#stopListening();
    this.#dropHeld();
  }

  #lane(node: string): Lane {
    const known = this.#lanes.get(node);
    if (known !== undefined) return known;
    if (this.#lanes.size >= LANES_MAX) this.#dropIdleLanes();
    const { subjects } = this.#wire;
    const lane: Lane = {
      subject: subjects.mailbox(node),
      back: subjects.back(this.#node, node),
      waiting: [],
      waitingBytes: 0,
    };
    this.#lanes.set(node, lane);
    return lane;
  }

  /** They cost nothing to make again. */
  #dropIdleLanes(): void {
    for (const [node, lane] of this.#lanes) if (lane.waiting.length === 0) this.#lanes.delete(node);
  }

  #dispatch(lane: Lane): void {
    if (lane.waiting.length === 0) return;
    const encoded = lane.waiting;
    lane.waiting = [];
    lane.waitingBytes = 0;
    this.#carry({
      lane,
      payloads: [batchPayload(encoded)],
      envelopes: encoded.length,
      atMs: performance.now(),
    });
  }

  #carry(batch: Batch): void {
    if (!this.#wire.isConnected) return this.#hold(batch);
    if (this.#unconfirmedBytes > UNCONFIRMED_BYTES_MAX) {
      this.#dropped += batch.envelopes;
      return;
    }
    this.#publish(batch);
  }

  #publish({ lane, payloads, envelopes }: Batch): void {
    try {
      for (const payload of payloads) this.#wire.nats.publish(lane.subject, payload, { reply: lane.back });
    } catch (error) {
      this.#dropped += envelopes;
      this.#wire.logger.log('error', 'cluster', `[nats] a batch cannot be published: ${messageOf(error)}`);
      return;
    }
    const bytes = sizeOf(payloads);
    this.#publishes += payloads.length;
    this.#unconfirmedBytes += bytes;
    this.#unaskedBytes += bytes;
    if (this.#unaskedBytes >= CONFIRM_BYTES) this.#confirm();
  }

  #confirm(): void {
    const bytes = this.#unaskedBytes;
    this.#unaskedBytes = 0;
    const confirmed = (): void => {
      this.#unconfirmedBytes -= bytes;
    };
    // A lost connection has dropped them; that counts as well.
    this.#wire.nats.flush().then(confirmed, confirmed);
  }

  #hold(held: Batch): void {
    this.#heldBytes += sizeOf(held.payloads);
    this.#held.push(held);
    const freshSinceMs = held.atMs - HELD_MS;
    let dropCount = 0;
    for (const { atMs, payloads, envelopes } of this.#held) {
      if (atMs >= freshSinceMs && this.#heldBytes <= HELD_BYTES_MAX) break;
      this.#heldBytes -= sizeOf(payloads);
      this.#dropped += envelopes;
      dropCount += 1;
    }
    if (dropCount > 0) this.#held.splice(0, dropCount);
  }

  #release(): void {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    const freshSinceMs = performance.now() - HELD_MS;
    for (const batch of held) {
      if (batch.atMs >= freshSinceMs) this.#publish(batch);
      else this.#dropped += batch.envelopes;
    }
  }

  #dropHeld(): void {
    for (const { envelopes } of this.#held) this.#dropped += envelopes;
    this.#held = [];
    this.#heldBytes = 0;
  }
}

const sizeOf = (payloads: readonly Buffer[]): number => payloads.reduce((sum, { length }) => sum + length, 0);
