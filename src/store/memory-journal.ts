/**
 * The journal in memory. Owns events, snapshots and epochs; holds them as JSON text, so that a reader
 * never shares an object with a writer and what cannot be stored cannot be stored here either.
 */
import type { Clock } from '../kernel/clock.ts';
import { type Epoch, epoch, type PersistenceId, persistenceId } from '../kernel/ids.ts';
import type { Journal, Recovered, StoredEvent } from '../ports/store.ts';
import { type PaidCall, paidCallOf } from './paid-call.ts';
import { staleAppend, staleHold } from './store-errors.ts';

interface Entry {
  epoch: number;
  readonly events: {
    readonly text: string;
    readonly atMs: number;
    readonly epoch: Epoch;
    readonly call: PaidCall | null;
  }[];
  snapshot: { readonly seq: number; readonly text: string } | null;
}

export class MemoryJournal implements Journal {
  readonly #entries = new Map<string, Entry>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async recover(id: PersistenceId, from?: { readonly ifEpoch: Epoch }): Promise<Recovered> {
    const entry = this.#entry(id);
    if (from !== undefined && entry.epoch !== from.ifEpoch) throw staleHold(id, from.ifEpoch);
    entry.epoch += 1;
    return { epoch: epoch(entry.epoch), ...readEntry(entry) };
  }

  async append(id: PersistenceId, held: Epoch, afterSeq: number, events: readonly unknown[]): Promise<void> {
    const entry = this.#entry(id);
    if (entry.epoch !== held || entry.events.length !== afterSeq) throw staleAppend(id, held, afterSeq);
    const atMs = this.#clock.now();
    const encoded = events.map((event) => ({
      text: JSON.stringify(event),
      atMs,
      epoch: held,
      call: paidCallOf(event),
    }));
    entry.events.push(...encoded);
  }

  async saveSnapshot(id: PersistenceId, held: Epoch, seq: number, state: unknown): Promise<void> {
    const entry = this.#entry(id);
    if (entry.epoch !== held || seq > entry.events.length) throw staleAppend(id, held, seq);
    if (entry.snapshot === null || entry.snapshot.seq < seq) {
      entry.snapshot = { seq, text: JSON.stringify(state) };
    }
  }

  async read(id: PersistenceId, afterSeq = 0): Promise<readonly StoredEvent[]> {
    const entry = this.#entries.get(id);
    return entry === undefined ? [] : eventsAfter(entry, afterSeq);
  }

  async pick(id: PersistenceId, seqs: readonly number[]): Promise<readonly StoredEvent[]> {
    const all = await this.read(id);
    return seqs.map((seq) => all[seq - 1]).filter((event) => event !== undefined);
  }

  async peek(id: PersistenceId): Promise<Omit<Recovered, 'epoch'>> {
    return readEntry(this.#entries.get(id) ?? emptyEntry());
  }

  async list(prefix: string): Promise<readonly { readonly id: PersistenceId; readonly lastSeq: number }[]> {
    return [...this.#entries]
      .filter(([id]) => id.startsWith(prefix))
      .map(([id, entry]) => ({ id: persistenceId(id), lastSeq: entry.events.length }))
      .toSorted((a, b) => Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)));
  }

  /** Every paid call below a prefix. */
  *calls(prefix: string): Iterable<PaidCall> {
    for (const [id, entry] of this.#entries) {
      if (!id.startsWith(prefix)) continue;
      for (const { call } of entry.events) if (call !== null) yield call;
    }
  }

  #entry(id: PersistenceId): Entry {
    const existing = this.#entries.get(id);
    if (existing !== undefined) return existing;
    const made = emptyEntry();
    this.#entries.set(id, made);
    return made;
  }
}

const emptyEntry = (): Entry => ({ epoch: 0, events: [], snapshot: null });

function readEntry(entry: Entry): Omit<Recovered, 'epoch'> {
  const { snapshot } = entry;
  return {
    snapshot: snapshot === null ? null : { seq: snapshot.seq, state: JSON.parse(snapshot.text) as unknown },
    events: eventsAfter(entry, snapshot?.seq ?? 0),
    lastSeq: entry.events.length,
  };
}

function eventsAfter(entry: Entry, afterSeq: number): StoredEvent[] {
  return entry.events.slice(afterSeq).map(({ text, atMs, epoch: held }, i) => ({
    seq: afterSeq + i + 1,
    event: JSON.parse(text) as unknown,
    atMs,
    epoch: held,
  }));
}
