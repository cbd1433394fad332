/** The database goes away, or the process does: nothing that was acknowledged is lost, nothing is there twice. */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { datasetId, persistenceId, runId } from '../../../src/kernel/ids.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import type { Store } from '../../../src/ports/store.ts';
import { EmbeddedPostgres } from '../../../src/store/embedded-postgres.ts';
import { openStore, type OpenStoreOptions } from '../../../src/store/open-store.ts';
import { freshSchema, withClient } from '../../support/embedded-store.ts';
import { startLossyProxy } from '../../support/lossy-proxy.ts';
import { startProcess, waitFor } from '../../support/processes.ts';
import { committing, holder, startRun } from '../../contract/store/store-contract.ts';

/** A server of this file's own: its connections are cut and it is killed. */
const stateDir = mkdtempSync(join(tmpdir(), 'dlgforge-away-'));
let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.open({ stateDir, logger: silentLogger });
});

afterAll(async () => {
  await server.leave();
  rmSync(stateDir, { recursive: true, force: true });
});

async function withOwnStore(
  use: (store: Store, schema: string) => Promise<void>,
  options: Partial<OpenStoreOptions> = {},
): Promise<void> {
  const schema = options.schema ?? freshSchema();
  const store = await openStore({ stateDir, poolMax: 4, schema, ...options });
  try {
    await use(store, schema);
  } finally {
    await store.close();
  }
}

const dsn = (): string =>
  `postgres://dlgforge:secret@${encodeURIComponent(server.address.host ?? '')}/postgres`;

/** Ends every connection of the pools; presences stay. */
async function cutConnections(): Promise<number> {
  await server.ensure();
  return await withClient(server, async (client) => {
    const { rowCount } = await client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query NOT LIKE '%advisory%'`,
    );
    return rowCount ?? 0;
  });
}

async function appendMany(store: Store, name: string, count: number): Promise<void> {
  const ids = Array.from({ length: 8 }, (_, i) => persistenceId(`${name}/${i}`));
  await Promise.all(
    ids.map(async (id) => {
      const { epoch } = await store.journal.recover(id);
      for (let seq = 0; seq < count; seq += 1)
        await store.journal.append(id, epoch, seq, [{ type: 'Done', seq }]);
    }),
  );
  for (const id of ids) {
    const events = await store.journal.read(id);
    expect(events.map(({ event }) => (event as { seq: number }).seq)).toEqual(
      Array.from({ length: count }, (_, i) => i),
    );
  }
}

describe('a database that goes away', () => {
  it('I1: appends and commits go on after their connections were cut, each written once', () =>
    withOwnStore(async (store) => {
      const lease = await startRun(store);
      const over = new AbortController();
      let cut = 0;
      const cutting = (async () => {
        for (; !over.signal.aborted; await sleep(100)) cut += await cutConnections();
      })();
      await appendMany(store, 'cut', 40);
      for (let i = 0; i < 25; i += 1) {
        expect(await store.commit(committing(lease, i, [`q${i}`]))).toEqual({
          type: 'committed',
          commitSeq: i + 1,
        });
      }
      over.abort();
      await cutting;
      expect(cut).toBeGreaterThan(3);
    }));

  it('I1, I3: whatever answer is lost, what was asked for is done once', async () => {
    const socket = `${server.address.host}/.s.PGSQL.${server.address.port}`;
    const proxy = await startLossyProxy(socket);
    const through = `postgres://dlgforge@127.0.0.1:${proxy.port}/postgres`;
    await withOwnStore(
      async (store) => {
        const lease = await startRun(store);
        const id = persistenceId('lossy');
        const { epoch } = await store.journal.recover(id);
        for (let n = 1; n <= 8; n += 1) {
          const run = {
            id: runId(`run ${n}`),
            datasetId: datasetId('dataset'),
            config: {},
            fingerprint: {},
            plan: {},
          };
          const steps = [
            () =>
              store.journal.append(id, epoch, 2 * n - 2, [
                { type: 'First', n },
                { type: 'Second', n },
              ]),
            () => store.commit(committing(lease, n, [`q${n}`])),
            () => store.createRun(run),
            () => store.acquireLease(`lease ${n}`, holder(n), 1_000, () => true),
          ];
          const results: unknown[] = [];
          for (const step of steps) {
            proxy.loseAnswer(n);
            results.push(await step());
          }
          expect(results[1]).toEqual({ type: 'committed', commitSeq: n });
          expect(results[2]).toMatchObject({ id: run.id, ordinal: n });
          expect(results[3]).toMatchObject({ type: 'granted', lease: { epoch: 1 } });
        }
        expect((await store.journal.read(id)).map(({ seq }) => seq)).toEqual(
          Array.from({ length: 16 }, (_, i) => i + 1),
        );
        expect(proxy.lost).toBeGreaterThan(12);
      },
      { dsn: through },
    );
    await proxy.close();
  });

  it('I1: goes on when the embedded server was killed, and says that it waits', async () => {
    const waits: (string | null)[] = [];
    await withOwnStore(
      async (store) => {
        const appends = appendMany(store, 'killed', 150);
        await waitFor(
          () => (store.description === '' ? undefined : true),
          1_000,
          () => 'no store',
        );
        process.kill(
          Number(readFileSync(join(stateDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]),
          'SIGKILL',
        );
        await appends;
      },
      { onWaiting: (message) => waits.push(message) },
    );
    await server.ensure();
    expect(waits[0]).toMatch(/waiting for the database embedded database in .*: .* \(for up to 10 min\)/);
    expect(waits.at(-1)).toBeNull();
  });

  it('goes on within 5 s of the return of a server that was stopped', async () => {
    const waits: (string | null)[] = [];
    await withOwnStore(
      async (store) => {
        const id = persistenceId('stopped');
        const { epoch } = await store.journal.recover(id);
        const elsewhere = await moveServerAway();
        const appended = store.journal.append(id, epoch, 0, [{ type: 'A' }]);
        await waitFor(
          () => waits[0] ?? undefined,
          5_000,
          () => 'nobody said that the store waits',
        );
        await elsewhere();
        const backMs = Date.now();
        await appended;
        expect(Date.now() - backMs).toBeLessThan(5_000);
        expect((await store.journal.read(id)).map(({ seq }) => seq)).toEqual([1]);
      },
      { dsn: dsn(), onWaiting: (message) => waits.push(message) },
    );
    expect(waits.at(-1)).toBeNull();
  });

  it('fails with what to do when patience ends', async () => {
    const schema = freshSchema();
    const store = await openStore({ stateDir, dsn: dsn(), schema, patienceMs: 300, connectTimeoutMs: 500 });
    const elsewhere = await moveServerAway();
    await expect(store.journal.read(persistenceId('x'))).rejects.toMatchObject({
      code: 'store',
      retryable: true,
      message: expect.stringMatching(/away for too long.*resume the run/),
    });
    await store.close();
    await elsewhere();
  });

  it('closes at once while it waits', async () => {
    const store = await openStore({ stateDir, dsn: dsn(), schema: freshSchema(), connectTimeoutMs: 500 });
    const elsewhere = await moveServerAway();
    const reading = expect(store.journal.read(persistenceId('x'))).rejects.toMatchObject({
      code: 'cancelled',
    });
    await store.close();
    await reading;
    await elsewhere();
  });
});

/** Stops the server for a while; the returned function starts it again. */
async function moveServerAway(): Promise<() => Promise<void>> {
  await server.leave();
  expect(() => readFileSync(join(stateDir, 'postgres', 'postmaster.pid'))).toThrow(/ENOENT/);
  return () => server.ensure();
}

describe('a server of the user', () => {
  it('opens by a DSN, also for many processes that start at once', async () => {
    const schema = freshSchema();
    const stores = await Promise.all(
      Array.from({ length: 4 }, () => openStore({ stateDir, dsn: dsn(), schema, poolMax: 2 })),
    );
    expect(stores[0]?.description).toMatch(/^Postgres at .*, database postgres$/);
    await startRun(stores[0]!);
    expect(await stores[3]?.listRuns()).toHaveLength(1);
    for (const store of stores) await store.close();
  });

  it('H5: one that never worked fails at once, named, its password masked', async () => {
    const beganMs = Date.now();
    const refused = openStore({ stateDir, dsn: 'postgres://someone:secret@127.0.0.1:1/data' });
    await expect(refused).rejects.toMatchObject({
      code: 'store',
      message: expect.stringMatching(/127\.0\.0\.1:1, database data.*ECONNREFUSED/),
    });
    const noDatabase = openStore({
      stateDir,
      dsn: dsn()
        .replace('/postgres?', '/none?')
        .replace(/postgres$/, 'none'),
    });
    await expect(noDatabase).rejects.toMatchObject({
      message: expect.stringContaining('"none" does not exist'),
    });
    for (const broken of [
      'postgres://someone:secret@[::1/data',
      'postgres://u:secret@h:port/d',
      'host=h password=secret',
    ]) {
      const error: unknown = await openStore({ stateDir, dsn: broken }).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ code: 'store', message: expect.stringContaining('cannot be read') });
      expect(JSON.stringify(error) + String(error) + String((error as Error).cause)).not.toContain('secret');
    }
    expect(Date.now() - beganMs).toBeLessThan(5_000);
  });

  it('refuses tables of a newer version', async () => {
    const schema = freshSchema();
    await withOwnStore(() => Promise.resolve(), { schema });
    await withClient(server, (client: Client) =>
      client.query(`INSERT INTO "${schema}".migrations (version, name) VALUES (99, 'of tomorrow')`),
    );
    await expect(openStore({ stateDir, schema })).rejects.toMatchObject({
      code: 'store',
      message: expect.stringMatching(/newer dlgforge \(version 99.*Update dlgforge/),
    });
  });
});

describe('a process that is killed', () => {
  it('I3: leaves whole conversations only, and everything it was told is there', () =>
    withOwnStore(async (store, schema) => {
      for (let round = 0; round < 3; round += 1) {
        const worker = startProcess('store-process.ts', [stateDir, schema, 'work']);
        await worker.line(new RegExp(`^committed ${12 + 7 * round}$`));
        await worker.kill();
        const told = (what: string): number => worker.lines.filter((line) => line.startsWith(what)).length;
        const journal = await store.journal.read(persistenceId(`work/${worker.child.pid}`));
        expect(journal.length).toBeGreaterThanOrEqual(told('appended'));
        const [counts] = await store.runCounts(runId(`run ${worker.child.pid}`));
        expect(counts?.committed).toBeGreaterThanOrEqual(told('committed'));
        expect(counts?.turns).toBe(2 * (counts?.committed ?? 0));
      }
      let seq = 0;
      for await (const { commitSeq, ledger } of store.committed(datasetId('dataset'), 0)) {
        seq += 1;
        expect(commitSeq).toBe(seq);
        expect(ledger).toHaveLength(2);
        const keys = ledger.map(({ question }) => Buffer.from(question).toString('hex'));
        expect(await store.knownQuestions(datasetId('dataset'), keys)).toEqual(new Set(keys));
      }
      expect(seq).toBeGreaterThan(40);
    }));
});

describe('a process that is frozen', () => {
  it('I2: in the middle of a commit it holds nobody up for long, and thawed it writes nothing', () =>
    withOwnStore(async (store, schema) => {
      const worker = startProcess('store-process.ts', [stateDir, schema, 'work']);
      await worker.line(/^committed 3$/);
      await withClient(server, (client) => freezeInTransaction(worker.child, client));
      const beganMs = Date.now();
      const name = `run/run ${worker.child.pid}`;
      const taken = await store.acquireLease(name, holder(1, 'elsewhere'), 0, () => false);
      expect(taken).toMatchObject({ type: 'granted', lease: { epoch: 2 } });
      expect(Date.now() - beganMs).toBeLessThan(4_500);
      const before = await store.runCounts(runId(`run ${worker.child.pid}`));
      worker.child.kill('SIGCONT');
      // Its next write is refused, which it takes for its end.
      expect(await worker.finish()).toBe(1);
      expect(await store.runCounts(runId(`run ${worker.child.pid}`))).toEqual(before);
    }));
});

/** Stops the process while the server waits for its next word. */
async function freezeInTransaction(child: ChildProcess, client: Client): Promise<void> {
  const deadlineMs = Date.now() + 10_000;
  for (;;) {
    child.kill('SIGSTOP');
    // What was on its way when it stopped is done by then.
    await sleep(50);
    const { rows } = await client.query(`SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction'`);
    if (rows.length > 0) return;
    if (Date.now() > deadlineMs) throw new Error('it never stopped in a transaction');
    child.kill('SIGCONT');
    await sleep(7);
  }
}
