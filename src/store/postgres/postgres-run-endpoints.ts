import type { RunId } from '../../kernel/ids.ts';
import type { RunEndpoint, RunEndpoints } from '../../ports/store.ts';
import { checkEndpointCount, endpointOfText, endpointsInOrder, endpointText } from '../endpoint-rows.ts';
import { noSuchRun } from '../store-errors.ts';
import { toStoredText } from '../stored-text.ts';
import type { Database, Statement } from './database.ts';
import { SNAPSHOT_MODE } from './postgres-runs.ts';

/** The changes to the endpoints of runs, each run's under a version that its row counts. */
export class PostgresRunEndpoints {
  readonly #database: Database;
  readonly #sql: ReturnType<typeof statements>;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#sql = statements(schema);
  }

  async set(id: RunId, endpoint: RunEndpoint): Promise<void> {
    const name = toStoredText(endpoint.name);
    const text = endpointText(endpoint);
    await this.#database.transaction(async (session) => {
      // The row of the run is the lock: of two changes one is counted first.
      const locked = await session.query(this.#sql.lockRun, [id]);
      if (locked.length === 0) throw noSuchRun(id);
      const [known] = await session.query<{ endpoint: string }>(this.#sql.one, [id, name]);
      if (known?.endpoint === text) return;
      if (known === undefined) {
        const [row] = await session.query<{ endpoints: number }>(this.#sql.count, [id]);
        checkEndpointCount(id, endpoint.name, row?.endpoints ?? 0);
      }
      await session.query(this.#sql.set, [id, name, text]);
      await session.query(this.#sql.raise, [id]);
    });
  }

  async all(id: RunId): Promise<RunEndpoints> {
    return await this.#database.transaction(async (session) => {
      const [row] = await session.query<{ version: number }>(this.#sql.version, [id]);
      const rows = await session.query<{ endpoint: string }>(this.#sql.all, [id]);
      const endpoints = rows.map(({ endpoint }) => endpointOfText(endpoint));
      return { version: row?.version ?? 0, endpoints: endpointsInOrder(endpoints) };
    }, SNAPSHOT_MODE);
  }

  async version(id: RunId): Promise<number> {
    const [row] = await this.#database.run((session) =>
      session.query<{ version: number }>(this.#sql.version, [id]),
    );
    return row?.version ?? 0;
  }
}

function statements(
  schema: string,
): Record<'lockRun' | 'one' | 'count' | 'set' | 'raise' | 'all' | 'version', Statement> {
  const { runs, endpoints } = { runs: `${schema}.runs`, endpoints: `${schema}.run_endpoints` };
  return {
    lockRun: { name: 'lock_run', text: `SELECT 1 FROM ${runs} WHERE id = $1 FOR NO KEY UPDATE` },
    one: {
      name: 'run_endpoint',
      text: `SELECT endpoint FROM ${endpoints} WHERE run_id = $1 AND name = $2`,
    },
    count: {
      name: 'count_run_endpoints',
      text: `SELECT count(*) AS endpoints FROM ${endpoints} WHERE run_id = $1`,
    },
    set: {
      name: 'set_run_endpoint',
      text: `INSERT INTO ${endpoints} (run_id, name, endpoint) VALUES ($1, $2, $3)
        ON CONFLICT (run_id, name) DO UPDATE SET endpoint = excluded.endpoint`,
    },
    raise: {
      name: 'raise_run_endpoints',
      text: `UPDATE ${runs} SET endpoints_version = endpoints_version + 1 WHERE id = $1`,
    },
    all: { name: 'run_endpoints', text: `SELECT endpoint FROM ${endpoints} WHERE run_id = $1` },
    version: {
      name: 'run_endpoints_version',
      text: `SELECT endpoints_version AS version FROM ${runs} WHERE id = $1`,
    },
  };
}
