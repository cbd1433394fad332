/** The database neither answers nor refuses: its network is cut, or it is frozen. Work goes on when it is back. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { persistenceId } from '../../../src/kernel/ids.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import type { Store } from '../../../src/ports/store.ts';
import { EmbeddedPostgres } from '../../../src/store/embedded-postgres.ts';
import { openStore, type OpenStoreOptions } from '../../../src/store/open-store.ts';
import { freshSchema, withClient } from '../../support/embedded-store.ts';
import { type LossyProxy, startLossyProxy } from '../../support/lossy-proxy.ts';
import { waitFor } from '../../support/processes.ts';
import { committing, startRun } from '../../contract/store/store-contract.ts';

/** A server of this file's own: it is frozen. */
const stateDir = mkdtempSync(join(tmpdir(), 'dlgforge-silent-'));
let server: EmbeddedPostgres;
let proxy: LossyProxy;

beforeAll(async () => {
  server = await EmbeddedPostgres.open({ stateDir, logger: silentLogger });
  proxy = await startLossyProxy(`${server.address.host}/.s.PGSQL.${server.address.port}`);
});

afterAll(async () => {
  await proxy.close();
  await server.leave();
  rmSync(stateDir, { recursive: true, force: true });
});

async function throughProxy(
  use: (store: Store, waits: (string | null)[], schema: string) => Promise<void>,
  options: Partial<OpenStoreOptions> = {},
): Promise<void> {
  const waits: (string | null)[] = [];
  const schema = freshSchema();
  const store = await openStore({
    stateDir,
    dsn: `postgres://dlgforge@127.0.0.1:${proxy.port}/postgres`,
    schema,
    poolMax: 4,
    onWaiting: (message) => waits.push(message),
    ...options,
  });
  try {
    await use(store, waits, schema);
  } finally {
    await store.close();
  }
}

/** Uses several connections, so that the pool has more than one. */
async function warmUp(store: Store): Promise<void> {
  await Promise.all(Array.from({ length: 20 }, () => store.listRuns()));
}

const elapsed = async (work: () => Promise<unknown>): Promise<number> => {
  const beganMs = performance.now();
  await work();
  return performance.now() - beganMs;
};

describe('a database that falls silent', () => {
  it.each(['everything', 'answers'] as const)(
    'I1, I3: gives up connections whose network forgot %s, and does what was asked once',
    (what) =>
      throughProxy(
        async (store) => {
          const lease = await startRun(store);
          const id = persistenceId('forgotten');
          const { epoch } = await store.journal.recover(id);
          await warmUp(store);
          proxy.forget(what);
          const work = Promise.all([
            store.journal.append(id, epoch, 0, [{ type: 'A' }]),
            store.commit(committing(lease, 0, ['q'])),
            store.setRunWanted(committing(lease, 0, []).runId, 'pause'),
          ]);
          expect(await elapsed(() => work)).toBeLessThan(7_000);
          expect((await work)[1]).toEqual({ type: 'committed', commitSeq: 1 });
          // Those that lay idle died too, and nobody has waited for one after the other.
          expect(await elapsed(() => warmUp(store))).toBeLessThan(1_000);
          expect((await store.journal.read(id)).map(({ event }) => event)).toEqual([{ type: 'A' }]);
          expect(await store.runCounts(committing(lease, 0, []).runId)).toMatchObject([{ committed: 1 }]);
        },
        { poolMax: 10 },
      ),
  );

  it('says that it waits while the network is cut, and goes on within 5 s of its return', () =>
    throughProxy(async (store, waits) => {
      const id = persistenceId('cut off');
      const { epoch } = await store.journal.recover(id);
      await warmUp(store);
      proxy.cutOff();
      const appended = store.journal.append(id, epoch, 0, [{ type: 'A' }]);
      await said(waits);
      expect(waits[0]).toMatch(/waiting for the database Postgres at 127\.0\.0\.1.*\(for up to 10 min\)/);
      proxy.heal();
      expect(await elapsed(() => appended)).toBeLessThan(5_000);
      await waitFor(
        () => (waits.at(-1) === null ? true : undefined),
        5_000,
        () => 'it still says that it waits',
      );
      expect(waits).toEqual([waits[0], null]);
      expect((await store.journal.read(id)).map(({ seq }) => seq)).toEqual([1]);
    }));

  it('leaves a statement alone that the server works on', () =>
    throughProxy(async (store, waits, schema) => {
      const id = persistenceId('held up');
      const { epoch } = await store.journal.recover(id);
      await withClient(server, async (client) => {
        await client.query(`BEGIN; SELECT 1 FROM "${schema}".holds FOR UPDATE`);
        const appended = store.journal.append(id, epoch, 0, [{ type: 'A' }]);
        const held = await heldUp(client);
        await sleep(4_500);
        expect(await heldUp(client)).toBe(held);
        await client.query('COMMIT');
        await appended;
      });
      expect(waits).toEqual([]);
    }));

  it('H11: gives up a statement at the time-out of the configuration, and asks again', () =>
    throughProxy(
      async (store, waits, schema) => {
        const id = persistenceId('too long');
        const { epoch } = await store.journal.recover(id);
        await withClient(server, async (client) => {
          await client.query(`BEGIN; SELECT 1 FROM "${schema}".holds FOR UPDATE`);
          const appended = store.journal.append(id, epoch, 0, [{ type: 'A' }]);
          expect(await said(waits)).toContain('statement timeout');
          await client.query('COMMIT');
          await appended;
        });
      },
      { statementTimeoutMs: 300 },
    ));

  it('H11: uses as many connections as the configuration allows', () =>
    throughProxy(
      async (store, _waits, schema) => {
        await Promise.all(Array.from({ length: 40 }, () => store.listRuns()));
        await withClient(server, async (client) => {
          const { rows } = await client.query<{ count: number }>(
            `SELECT count(*)::int AS count FROM pg_stat_activity WHERE query LIKE '%FROM "${schema}".runs%'
               AND pid <> pg_backend_pid()`,
          );
          expect(rows[0]?.count).toBe(3);
        });
      },
      { poolMax: 3, poolMin: 2 },
    ));

  it('goes on as soon as a frozen server is thawed', async () => {
    const waits: (string | null)[] = [];
    const store = await openStore({
      stateDir,
      schema: freshSchema(),
      onWaiting: (message) => waits.push(message),
    });
    const id = persistenceId('frozen');
    const { epoch } = await store.journal.recover(id);
    const pids = serverProcesses();
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const appended = store.journal.append(id, epoch, 0, [{ type: 'A' }]);
    try {
      await said(waits);
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
    expect(await elapsed(() => appended)).toBeLessThan(5_000);
    await waitFor(
      () => (waits.at(-1) === null ? true : undefined),
      5_000,
      () => 'it still says that it waits',
    );
    expect((await store.journal.read(id)).map(({ seq }) => seq)).toEqual([1]);
    await store.close();
  });
});

/** What the store says while it waits. */
const said = (waits: readonly (string | null)[]): Promise<string> =>
  waitFor(
    () => waits[0] ?? undefined,
    10_000,
    () => 'nobody said that the store waits',
  );

/** The server's process that waits for a lock. */
async function heldUp(client: Client): Promise<number> {
  const deadlineMs = Date.now() + 5_000;
  for (;;) {
    const { rows } = await client.query<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'`,
    );
    if (rows[0] !== undefined) return rows[0].pid;
    if (Date.now() > deadlineMs) throw new Error('nothing waits for a lock');
    await sleep(20);
  }
}

/** The server and all that it has started. */
function serverProcesses(): number[] {
  const parent = Number(readFileSync(join(stateDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim();
  return [parent, ...children.split(' ').filter(Boolean).map(Number)];
}
