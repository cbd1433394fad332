import { invariant } from '../../kernel/errors.ts';
import { type Epoch, epoch, type PersistenceId, persistenceId } from '../../kernel/ids.ts';
import type { Journal, Recovered, StoredEvent } from '../../ports/store.ts';
import { paidCallOf } from '../paid-call.ts';
import { staleAppend, staleHold } from '../store-errors.ts';
import { AppendQueue } from './append-queue.ts';
import { bigintArray } from './binary-arrays.ts';
import type { Database, Session, Statement } from './database.ts';

interface EventRow {
  readonly seq: number;
  readonly event: string;
  readonly at_ms: number;
  readonly epoch: number;
}

/** The journal on Postgres. Owns no state but the queue of appends; epochs and positions are in `holds`. */
export class PostgresJournal implements Journal {
  readonly #database: Database;
  readonly #appends: AppendQueue;
  readonly #sql: ReturnType<typeof statements>;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#appends = new AppendQueue(database, schema);
    this.#sql = statements(schema);
  }

  async recover(id: PersistenceId, from?: { readonly ifEpoch: Epoch }): Promise<Recovered> {
    checkId(id);
    return await this.#database.run(async (session) => {
      // Once this is committed nobody under an older epoch can append, so what is read next is final.
      const [hold] = await session.query<{ epoch: number }>(this.#sql.raise, [id, from?.ifEpoch ?? null]);
      if (hold === undefined && from !== undefined) throw staleHold(id, from.ifEpoch);
      invariant(hold !== undefined, 'a hold was raised');
      return { epoch: epoch(hold.epoch), ...(await this.#readAll(session, id)) };
    });
  }

  async append(id: PersistenceId, held: Epoch, afterSeq: number, events: readonly unknown[]): Promise<void> {
    checkId(id);
    await this.#appends.add({
      id,
      epoch: held,
      afterSeq,
      events: events.map((event) => JSON.stringify(event)),
      paidCalls: events.map(paidCallText),
    });
  }

  async saveSnapshot(id: PersistenceId, held: Epoch, seq: number, state: unknown): Promise<void> {
    const text = JSON.stringify(state);
    const rows = await this.#database.run((session) =>
      session.query(this.#sql.saveSnapshot, [id, held, seq, text]),
    );
    if (rows.length === 0) throw staleAppend(id, held, seq);
  }

  async read(id: PersistenceId, afterSeq = 0): Promise<readonly StoredEvent[]> {
    const rows = await this.#database.run((session) =>
      session.query<EventRow>(this.#sql.events, [id, afterSeq]),
    );
    return rows.map(storedEvent);
  }

  async pick(id: PersistenceId, seqs: readonly number[]): Promise<readonly StoredEvent[]> {
    if (seqs.length === 0) return [];
    const rows = await this.#database.run((session) =>
      session.query<EventRow>(this.#sql.pick, [id, bigintArray([...new Set(seqs)])]),
    );
    const bySeq = new Map(rows.map((row) => [row.seq, row]));
    return seqs.flatMap((seq) => {
      const row = bySeq.get(seq);
      return row === undefined ? [] : [storedEvent(row)];
    });
  }

  async peek(id: PersistenceId): Promise<Omit<Recovered, 'epoch'>> {
    return await this.#database.run((session) => this.#readAll(session, id));
  }

  async list(prefix: string): Promise<readonly { readonly id: PersistenceId; readonly lastSeq: number }[]> {
    const rows = await this.#database.run((session) =>
      session.query<{ persistence_id: string; last_seq: number }>(this.#sql.list, [prefix]),
    );
    return rows.map((row) => ({ id: persistenceId(row.persistence_id), lastSeq: row.last_seq }));
  }

  /** Writes what waits; nothing new is taken. */
  async close(): Promise<void> {
    await this.#appends.close();
  }

  async #readAll(session: Session, id: PersistenceId): Promise<Omit<Recovered, 'epoch'>> {
    const [snapshot] = await session.query<{ seq: number; state: string }>(this.#sql.snapshot, [id]);
    const afterSeq = snapshot?.seq ?? 0;
    const events = (await session.query<EventRow>(this.#sql.events, [id, afterSeq])).map(storedEvent);
    return {
      snapshot:
        snapshot === undefined ? null : { seq: snapshot.seq, state: JSON.parse(snapshot.state) as unknown },
      events,
      lastSeq: events.at(-1)?.seq ?? afterSeq,
    };
  }
}

function statements(
  schema: string,
): Record<'raise' | 'saveSnapshot' | 'snapshot' | 'events' | 'pick' | 'list', Statement> {
  const event = 'seq, event, epoch, (extract(epoch FROM at) * 1000)::float8 AS at_ms';
  return {
    raise: {
      name: 'raise_hold',
      text: `INSERT INTO ${schema}.holds AS h (persistence_id, epoch) VALUES ($1, 1)
        ON CONFLICT (persistence_id) DO UPDATE SET epoch = h.epoch + 1
        WHERE $2::bigint IS NULL OR h.epoch = $2::bigint RETURNING epoch`,
    },
    saveSnapshot: {
      name: 'save_snapshot',
      // One row back when the hold is ours, also when a newer snapshot stays.
      text: `WITH held AS (
          SELECT persistence_id FROM ${schema}.holds
          WHERE persistence_id = $1 AND epoch = $2 AND last_seq >= $3 FOR SHARE
        ), saved AS (
          INSERT INTO ${schema}.snapshots AS s (persistence_id, seq, state)
          SELECT persistence_id, $3, $4 FROM held
          ON CONFLICT (persistence_id) DO UPDATE SET seq = excluded.seq, state = excluded.state
          WHERE s.seq < excluded.seq
        )
        SELECT 1 FROM held`,
    },
    snapshot: {
      name: 'read_snapshot',
      text: `SELECT seq, state FROM ${schema}.snapshots WHERE persistence_id = $1`,
    },
    events: {
      name: 'read_events',
      text: `SELECT ${event} FROM ${schema}.journal WHERE persistence_id = $1 AND seq > $2 ORDER BY seq`,
    },
    pick: {
      name: 'pick_events',
      text: `SELECT ${event} FROM ${schema}.journal WHERE persistence_id = $1 AND seq = ANY($2::bigint[])`,
    },
    list: {
      name: 'list_holds',
      // Every text that starts with the prefix is between it and it with the last character of all behind.
      text: `SELECT persistence_id, last_seq FROM ${schema}.holds
        WHERE persistence_id >= $1 AND persistence_id <= $1 || U&'\\+10FFFF' AND starts_with(persistence_id, $1)
        ORDER BY persistence_id`,
    },
  };
}

function storedEvent(row: EventRow): StoredEvent {
  return {
    seq: row.seq,
    event: JSON.parse(row.event) as unknown,
    atMs: Math.round(row.at_ms),
    epoch: epoch(row.epoch),
  };
}

function paidCallText(event: unknown): string | null {
  const call = paidCallOf(event);
  if (call === null) return null;
  // jsonb refuses what these two could hold in theory; the journalled event keeps them as they were.
  const model = storable(call.model);
  const endpoint = storable(call.endpoint);
  return JSON.stringify({ ...call, model, endpoint });
}

const storable = (text: string): string => text.toWellFormed().replaceAll('\0', '\u{FFFD}');

function checkId(id: string): void {
  invariant(id.isWellFormed() && !id.includes('\0'), `a persistence id is plain text: ${JSON.stringify(id)}`);
}
