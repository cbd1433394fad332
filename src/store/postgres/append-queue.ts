/**
 * Group commit: appends that are asked for while a statement is under way travel together in the next one,
 * so that many conversations share one round trip and one write to disk.
 *
 * Invariants:
 * - Q1 Each append is written whole or not at all, under the hold's row lock and only when epoch and
 *   position are those of the hold (I2); others in the statement are not touched by a loser.
 * - Q2 A statement has at most one append of a persistence id, so their order is the order of asking.
 * - Q3 What waits is bounded in number and bytes (I9); the next append is refused.
 */
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Epoch, PersistenceId } from '../../kernel/ids.ts';
import { staleAppend, storeClosed } from '../store-errors.ts';
import { bigintArray, textArray } from './binary-arrays.ts';
import type { Database, Session, Statement } from './database.ts';

export interface Append {
  readonly id: PersistenceId;
  readonly epoch: Epoch;
  readonly afterSeq: number;
  /** Events as JSON texts. */
  readonly events: readonly string[];
  /** Per event: its paid call as JSON text, or null. */
  readonly paidCalls: readonly (string | null)[];
}

interface Waiting {
  readonly append: Append;
  readonly chars: number;
  readonly written: () => void;
  readonly failed: (error: unknown) => void;
}

const BATCH_APPENDS_MAX = 512;
const BATCH_CHARS_MAX = 8 * 1024 * 1024;
const WAITING_MAX = 20_000;
const WAITING_CHARS_MAX = 256 * 1024 * 1024;

export class AppendQueue {
  readonly #database: Database;
  readonly #append: Statement;
  readonly #rows: Statement;
  #waiting: Waiting[] = [];
  #waitingChars = 0;
  #running: Promise<void> | null = null;
  #closed = false;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#append = appendStatement(schema);
    this.#rows = {
      name: 'journal_rows',
      text: `SELECT epoch, event FROM ${schema}.journal
        WHERE persistence_id = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
    };
  }

  add(append: Append): Promise<void> {
    if (this.#closed) throw storeClosed();
    const chars = append.events.reduce((sum, event) => sum + event.length, 0);
    if (this.#waiting.length >= WAITING_MAX || this.#waitingChars + chars > WAITING_CHARS_MAX)
      throw tooMuch();
    return new Promise((written, failed) => {
      this.#waiting.push({ append, chars, written, failed });
      this.#waitingChars += chars;
      this.#running ??= this.#drain();
    });
  }

  /** Writes what waits; nothing new is taken. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #drain(): Promise<void> {
    // What this turn of the event loop still asks for goes along.
    await new Promise(setImmediate);
    while (this.#waiting.length > 0) await this.#write(this.#takeBatch());
    this.#running = null;
  }

  #takeBatch(): Waiting[] {
    const batch: Waiting[] = [];
    const ids = new Set<string>();
    let chars = 0;
    let taken = 0;
    const left: Waiting[] = [];
    for (const waiting of this.#waiting) {
      const full =
        batch.length >= BATCH_APPENDS_MAX || (batch.length > 0 && chars + waiting.chars > BATCH_CHARS_MAX);
      if (full) break;
      taken += 1;
      if (ids.has(waiting.append.id)) {
        left.push(waiting);
        continue;
      }
      ids.add(waiting.append.id);
      batch.push(waiting);
      chars += waiting.chars;
    }
    this.#waiting = left.length === 0 ? this.#waiting.slice(taken) : [...left, ...this.#waiting.slice(taken)];
    this.#waitingChars -= chars;
    return batch;
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    try {
      const losers = await this.#database.run((session, tryNumber) =>
        this.#attempt(session, batch, tryNumber > 1),
      );
      batch.forEach((waiting, i) => {
        if (losers.has(i)) waiting.failed(staleOf(waiting.append));
        else waiting.written();
      });
    } catch (error) {
      for (const waiting of batch) waiting.failed(error);
    }
  }

  /** Positions in the batch that were not written. */
  async #attempt(session: Session, batch: readonly Waiting[], again: boolean): Promise<Set<number>> {
    const rows = await session.query<{ n: number }>(this.#append, valuesOf(batch));
    const losers = new Set<number>();
    for (const { n } of rows) {
      const { append } = batch[n] as Waiting;
      // The try before this one may have written it and lost its answer on the way.
      if (!again || !(await this.#isWritten(session, append))) losers.add(n);
    }
    return losers;
  }

  async #isWritten(session: Session, append: Append): Promise<boolean> {
    const { id, afterSeq, events, epoch } = append;
    // What writes nothing has not been written by an earlier try either.
    if (events.length === 0) return false;
    const rows = await session.query<{ epoch: number; event: string }>(this.#rows, [
      id,
      afterSeq,
      events.length,
    ]);
    return (
      rows.length === events.length && rows.every((row, i) => row.epoch === epoch && row.event === events[i])
    );
  }
}

/** Gives the position in the batch of every append that lost. */
function appendStatement(schema: string): Statement {
  return {
    name: 'append',
    text: `WITH asked AS (
        SELECT id, epoch, after_seq, count, n - 1 AS n
        FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
          WITH ORDINALITY AS a(id, epoch, after_seq, count, n)
      ), held AS (
        UPDATE ${schema}.holds h SET last_seq = asked.after_seq + asked.count FROM asked
        WHERE h.persistence_id = asked.id AND h.epoch = asked.epoch AND h.last_seq = asked.after_seq
        RETURNING asked.n, h.persistence_id, h.epoch
      ), written AS (
        INSERT INTO ${schema}.journal (persistence_id, seq, epoch, event, paid_call)
        SELECT held.persistence_id, e.seq, held.epoch, e.event, e.paid_call::jsonb
        FROM unnest($5::bigint[], $6::bigint[], $7::text[], $8::text[]) AS e(n, seq, event, paid_call)
        JOIN held ON held.n = e.n
      )
      SELECT n FROM asked WHERE NOT EXISTS (SELECT 1 FROM held WHERE held.n = asked.n)`,
  };
}

function valuesOf(batch: readonly Waiting[]): Buffer[] {
  const ids: string[] = [];
  const epochs: number[] = [];
  const afterSeqs: number[] = [];
  const counts: number[] = [];
  const positions: number[] = [];
  const seqs: number[] = [];
  const events: string[] = [];
  const paidCalls: (string | null)[] = [];
  for (const [n, { append }] of batch.entries()) {
    ids.push(append.id);
    epochs.push(append.epoch);
    afterSeqs.push(append.afterSeq);
    counts.push(append.events.length);
    for (const [i, event] of append.events.entries()) {
      positions.push(n);
      seqs.push(append.afterSeq + i + 1);
      events.push(event);
      paidCalls.push(append.paidCalls[i] ?? null);
    }
  }
  return [
    textArray(ids),
    bigintArray(epochs),
    bigintArray(afterSeqs),
    bigintArray(counts),
    bigintArray(positions),
    bigintArray(seqs),
    textArray(events),
    textArray(paidCalls),
  ];
}

const staleOf = (append: Append): DlgforgeError => staleAppend(append.id, append.epoch, append.afterSeq);

function tooMuch(): DlgforgeError {
  return new DlgforgeError(
    'overloaded',
    'Too many events wait for the database. It is slower than the run: lower run.batch_size, or give it a faster disk.',
    { retryable: true },
  );
}
