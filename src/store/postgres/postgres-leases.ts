import { randomUUID } from 'node:crypto';
import { invariant } from '../../kernel/errors.ts';
import { epoch } from '../../kernel/ids.ts';
import type { HolderInfo, LeaseGrant, LeaseResult } from '../../ports/store.ts';
import { holderIsDead } from '../lease-rule.ts';
import { staleLease } from '../store-errors.ts';
import type { Database, Session, Statement } from './database.ts';

interface LeaseRow {
  readonly epoch: number;
  readonly holder: string | null;
  readonly request: string | null;
  readonly silent_ms: number;
}

/** Named holds. The row is the truth: its epoch only grows, and writes check it under a row lock. */
export class PostgresLeases {
  readonly #database: Database;
  readonly #sql: ReturnType<typeof statements>;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#sql = statements(schema);
  }

  async acquire(
    name: string,
    holder: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): Promise<LeaseResult> {
    // Known again when the answer to a grant was lost and the transaction is repeated.
    const request = randomUUID();
    return await this.#database.transaction(async (session): Promise<LeaseResult> => {
      const row = await this.#lock(session, name);
      const previous = holderOf(row);
      if (row.request === request) return granted(name, row.epoch, null);
      if (previous !== null && !holderIsDead(previous, holder, row.silent_ms, ttlMs, isAlive)) {
        return { type: 'held', holder: previous };
      }
      const [next] = await session.query<{ epoch: number }>(this.#sql.grant, [
        name,
        JSON.stringify(holder),
        request,
      ]);
      invariant(next !== undefined, 'a locked lease is there');
      return granted(name, next.epoch, previous);
    });
  }

  async holder(
    name: string,
    asker: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): Promise<HolderInfo | null> {
    const [row] = await this.#database.run((session) => session.query<LeaseRow>(this.#sql.look, [name]));
    const holder = row === undefined ? null : holderOf(row);
    if (row === undefined || holder === null) return null;
    return holderIsDead(holder, asker, row.silent_ms, ttlMs, isAlive) ? null : holder;
  }

  async renew(lease: LeaseGrant): Promise<void> {
    const rows = await this.#database.run((session) =>
      session.query(this.#sql.renew, [lease.name, lease.epoch]),
    );
    if (rows.length === 0) throw staleLease(lease);
  }

  async release(lease: LeaseGrant): Promise<void> {
    await this.#database.run((session) => session.query(this.#sql.release, [lease.name, lease.epoch]));
  }

  async #lock(session: Session, name: string): Promise<LeaseRow> {
    await session.query(this.#sql.make, [name]);
    const [row] = await session.query<LeaseRow>(this.#sql.lock, [name]);
    invariant(row !== undefined, 'a lease that was made is there');
    return row;
  }
}

/**
 * I2 for whoever writes under a lease: holds the row against takers until the transaction ends.
 * @throws DlgforgeError `stale_epoch` when the lease has moved on.
 */
export async function checkLease(session: Session, schema: string, lease: LeaseGrant): Promise<void> {
  const rows = await session.query(
    {
      name: 'check_lease',
      text: `SELECT 1 FROM ${schema}.leases WHERE name = $1 AND epoch = $2 AND holder IS NOT NULL FOR SHARE`,
    },
    [lease.name, lease.epoch],
  );
  if (rows.length === 0) throw staleLease(lease);
}

const holderOf = ({ holder }: LeaseRow): HolderInfo | null =>
  holder === null ? null : (JSON.parse(holder) as HolderInfo);

function granted(name: string, value: number, previous: HolderInfo | null): LeaseResult {
  return { type: 'granted', lease: { name, epoch: epoch(value) }, previous };
}

function statements(
  schema: string,
): Record<'make' | 'lock' | 'look' | 'grant' | 'renew' | 'release', Statement> {
  const read = `SELECT epoch, holder, request,
      (extract(epoch FROM clock_timestamp() - renewed_at) * 1000)::float8 AS silent_ms
    FROM ${schema}.leases WHERE name = $1`;
  const held = 'WHERE name = $1 AND epoch = $2 AND holder IS NOT NULL';
  return {
    make: {
      name: 'make_lease',
      text: `INSERT INTO ${schema}.leases (name) VALUES ($1) ON CONFLICT DO NOTHING`,
    },
    lock: { name: 'lock_lease', text: `${read} FOR UPDATE` },
    look: { name: 'look_at_lease', text: read },
    grant: {
      name: 'grant_lease',
      text: `UPDATE ${schema}.leases
        SET epoch = epoch + 1, holder = $2, request = $3, renewed_at = clock_timestamp()
        WHERE name = $1 RETURNING epoch`,
    },
    renew: {
      name: 'renew_lease',
      text: `UPDATE ${schema}.leases SET renewed_at = clock_timestamp() ${held} RETURNING 1`,
    },
    release: {
      name: 'release_lease',
      text: `UPDATE ${schema}.leases SET holder = NULL, request = NULL ${held}`,
    },
  };
}
