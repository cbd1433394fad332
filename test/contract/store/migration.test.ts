/** A database of an earlier version is brought up to date, with everything that is in it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { datasetId, persistenceId, runId } from '../../../src/kernel/ids.ts';
import type { EmbeddedPostgres } from '../../../src/store/embedded-postgres.ts';
import { inspectStore } from '../../../src/store/open-store.ts';
import { MIGRATIONS, SCHEMA_VERSION } from '../../../src/store/postgres/schema.ts';
import {
  enterTestServer,
  freshSchema,
  openTestStore,
  TEST_STATE_DIR,
  withClient,
  withStore,
} from '../../support/embedded-store.ts';
import { collect, committing } from './store-contract.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await enterTestServer();
});
afterAll(() => server.leave());

/** What 1.0.0 left behind: a run under way, with a conversation committed and another one journalled. */
const OLD_ROWS = `
  INSERT INTO @.datasets (id, output_dir, run_count, commit_seq) VALUES ('dataset', '/data/out', 1, 1);
  INSERT INTO @.runs (id, dataset_no, ordinal, status, config, fingerprint, plan, creation)
    VALUES ('run', 1, 0, 'running', '{"a":1}', '{"b":"c"}', 'null', 'once');
  INSERT INTO @.holds (persistence_id, epoch, last_seq) VALUES ('run/run/0/1', 3, 1);
  INSERT INTO @.journal (persistence_id, seq, epoch, event) VALUES ('run/run/0/1', 1, 3, '{"type":"Started"}');
  INSERT INTO @.conversations (run_id, language_index, index, dataset_no, commit_seq, language, conversation_id,
      turns, status, payload) VALUES ('run', 0, 0, 1, 1, 'en', 'run-0', 2, 'committed', '{"index":0}');
  INSERT INTO @.run_counts VALUES ('run', 0, 1, 0, 0, 1, 2);
  INSERT INTO @.leases (name, epoch) VALUES ('run', 4);
`;

async function makeOld(schema: string, version: number): Promise<void> {
  await withClient(server, async (client) => {
    await client.query(`CREATE SCHEMA "${schema}"; CREATE TABLE "${schema}".migrations
      (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`);
    for (const step of MIGRATIONS.slice(0, version)) {
      await client.query(step.sql.replaceAll('@', `"${schema}"`));
      await client.query(`INSERT INTO "${schema}".migrations VALUES ($1, $2)`, [step.version, step.name]);
    }
    await client.query(OLD_ROWS.replaceAll('@', `"${schema}"`));
  });
}

describe('a database of 1.0.0', () => {
  it('has what a cluster needs once it is opened, and keeps what it had', async () => {
    const schema = freshSchema();
    await makeOld(schema, 1);
    const looked = { stateDir: TEST_STATE_DIR, schema };
    expect(await inspectStore(looked)).toMatchObject({ version: 1, newest: SCHEMA_VERSION });
    const run = runId('run');
    await withStore(
      async (store) => {
        expect(await inspectStore(looked)).toMatchObject({ version: SCHEMA_VERSION });
        expect(await store.getRun(run)).toMatchObject({ status: 'running', config: { a: 1 }, plan: null });
        expect([await store.runSpec(run), await store.runWanted(run)]).toEqual([null, 'run']);
        expect(await store.runEndpoints(run)).toEqual({ version: 0, endpoints: [] });
        expect(await store.activeRuns()).toEqual([]);
        const journalled = await store.journal.recover(persistenceId('run/run/0/1'));
        expect(journalled).toMatchObject({ epoch: 4, events: [{ seq: 1, epoch: 3 }] });
        const asker = { host: 'h', pid: 1, processKey: 'k', command: 'c', sinceMs: 1 };
        const granted = await store.acquireLease('run', asker, 1, () => true);
        if (granted.type !== 'granted') throw new Error('nobody has it');
        await store.commit(committing(granted.lease, 1, ['q1']));
        const all = await collect(store.committed(datasetId('dataset'), 0));
        expect(all.map(({ commitSeq, epoch }) => [commitSeq, epoch])).toEqual([
          [1, 0],
          [2, 5],
        ]);
        await store.saveRunSpec(run, granted.lease, {});
        expect(await store.activeRuns()).toMatchObject([{ id: run, wanted: 'run' }]);
      },
      { schema },
    );
  });

  it('is brought up to date once, whoever comes first', async () => {
    const schema = freshSchema();
    await makeOld(schema, 1);
    const stores = await Promise.all(Array.from({ length: 4 }, () => openTestStore(schema)));
    for (const store of stores) {
      expect(await store.listRuns()).toHaveLength(1);
      await store.close();
    }
    await withStore((store) => store.close(), { schema });
  });
});
