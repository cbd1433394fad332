/**
 * A real store for tests: one embedded server for all test processes of this checkout, which the last one
 * stops, and a schema of its own for each test. The database stays between runs, so that it is made once.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { sha256 } from '../../src/kernel/hash.ts';
import { silentLogger } from '../../src/kernel/logger.ts';
import type { Store } from '../../src/ports/store.ts';
import { EmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { type OpenStoreOptions, openStore } from '../../src/store/open-store.ts';

/** Where the shared test database is. */
export const TEST_STATE_DIR = join(
  tmpdir(),
  `dlgforge-test-${process.getuid?.() ?? 0}-${sha256(import.meta.dirname).slice(0, 8)}`,
);

let schemas = 0;

/** A schema name that no other test has; killed test processes are recognised by the number in it. */
export function freshSchema(): string {
  schemas += 1;
  return `test_${process.pid}_${schemas}_${Math.random().toString(36).slice(2, 6)}`;
}

/**
 * Opens a store on a schema of its own, and takes both away again. A file with many tests keeps the server
 * up between them with `enterTestServer`.
 */
export async function withStore<T>(
  use: (store: Store, schema: string) => Promise<T>,
  options: Partial<OpenStoreOptions> = {},
): Promise<T> {
  const schema = options.schema ?? freshSchema();
  const server = await enterTestServer();
  try {
    const store = await openTestStore(schema, options);
    try {
      return await use(store, schema);
    } finally {
      await store.close();
      const address = options.dsn === undefined ? server.address : { connectionString: options.dsn };
      await withClient({ address }, (client) => dropSchemas(client, schema));
    }
  } finally {
    await server.leave();
  }
}

/** Keeps the test server up until the caller leaves it. */
export function enterTestServer(): Promise<EmbeddedPostgres> {
  return EmbeddedPostgres.open({ stateDir: TEST_STATE_DIR, logger: silentLogger });
}

/** Another store on the same schema, as another process would open it. */
export function openTestStore(schema: string, options: Partial<OpenStoreOptions> = {}): Promise<Store> {
  return openStore({ stateDir: TEST_STATE_DIR, poolMax: 4, ...options, schema });
}

/** Talks to a server directly. */
export async function withClient<T>(
  server: Pick<EmbeddedPostgres, 'address'>,
  use: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new Client({ ...server.address, application_name: 'dlgforge' });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** The schema of this test, and those of test processes that were killed. */
async function dropSchemas(client: Client, schema: string): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT nspname AS name FROM pg_namespace WHERE nspname LIKE 'test\\_%'`,
  );
  for (const { name } of rows) {
    if (name === schema || isAbandoned(name)) await client.query(`DROP SCHEMA IF EXISTS "${name}" CASCADE`);
  }
}

function isAbandoned(schema: string): boolean {
  try {
    process.kill(Number(schema.split('_')[1]), 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}
