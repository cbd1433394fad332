import { DlgforgeError, invariant } from '../../kernel/errors.ts';
import type { Database, Session } from './database.ts';
import { MIGRATIONS, SCHEMA_VERSION } from './schema.ts';

const SERVER_VERSION_MIN = 140_000;

/**
 * Brings the schema to this version, in one transaction under a lock: of processes that start together one
 * does the work and the others wait for it.
 * @throws DlgforgeError `store` when a newer dlgforge has been here, or the server is too old.
 */
export async function migrate(database: Database, schema: string): Promise<void> {
  await database.transaction(async (session) => {
    await checkServer(session);
    await session.query(sql('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))'), [
      `dlgforge schema ${schema}`,
    ]);
    await createSchema(session, schema);
    const [row] = await session.query<{ version: number | null }>(
      sql(`SELECT max(version) AS version FROM ${schema}.migrations`),
    );
    const version = row?.version ?? 0;
    if (version > SCHEMA_VERSION) throw newerSchema(schema, version);
    for (const step of MIGRATIONS.slice(version)) {
      await session.query(sql(step.sql.replaceAll('@', schema)));
      await session.query(sql(`INSERT INTO ${schema}.migrations (version, name) VALUES ($1, $2)`), [
        step.version,
        step.name,
      ]);
    }
  });
}

/** How far a database is, without changing it. */
export interface SchemaState {
  /** Of Postgres. */
  readonly serverVersion: string;
  /** False for a Postgres that is too old. */
  readonly supported: boolean;
  /** Of our tables; 0 when there are none. */
  readonly version: number;
  /** What this dlgforge brings the tables to. */
  readonly newest: number;
  /** Whether this user may make what is missing. */
  readonly mayMigrate: boolean;
}

export async function schemaState(session: Session, name: string): Promise<SchemaState> {
  const schema = quotedSchema(name);
  const [server] = await session.query<{ number: number; text: string; tables: boolean; may: boolean }>(
    sql(`SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS text,
        to_regclass($1) IS NOT NULL AS tables,
        CASE WHEN to_regnamespace($2) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
          ELSE has_schema_privilege($2, 'CREATE') END AS may`),
    [`${schema}.migrations`, name],
  );
  invariant(server !== undefined, 'a query without a table has one row');
  const rows = server.tables
    ? await session.query<{ version: number | null }>(
        sql(`SELECT max(version) AS version FROM ${schema}.migrations`),
      )
    : [];
  return {
    serverVersion: server.text,
    supported: server.number >= SERVER_VERSION_MIN,
    version: rows[0]?.version ?? 0,
    newest: SCHEMA_VERSION,
    mayMigrate: server.may,
  };
}

/** The one place where a name is put into SQL text. */
export function quotedSchema(name: string): string {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(name)) {
    throw new DlgforgeError('config', `${name} is no name for a schema: use small letters, digits and _.`);
  }
  return `"${name}"`;
}

async function checkServer(session: Session): Promise<void> {
  const [row] = await session.query<{ number: number; version: string }>(
    sql(
      `SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version`,
    ),
  );
  if (row !== undefined && row.number < SERVER_VERSION_MIN) {
    throw new DlgforgeError(
      'store',
      `The database server is Postgres ${row.version}; dlgforge needs 14 or newer. ` +
        'Name a newer server in store.postgres.dsn, or leave it empty for the embedded one.',
    );
  }
}

async function createSchema(session: Session, schema: string): Promise<void> {
  const bare = schema.slice(1, -1);
  // Asked first: IF NOT EXISTS needs the right to create even where there is nothing to do.
  const existing = await session.query(sql('SELECT 1 FROM pg_namespace WHERE nspname = $1'), [bare]);
  if (existing.length === 0) await session.query(sql(`CREATE SCHEMA ${schema}`));
  const [table] = await session.query<{ found: boolean }>(
    sql('SELECT to_regclass($1) IS NOT NULL AS found'),
    [`${schema}.migrations`],
  );
  if (table?.found === true) return;
  await session.query(
    sql(`CREATE TABLE ${schema}.migrations (
      version    integer PRIMARY KEY,
      name       text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )`),
  );
}

function newerSchema(schema: string, version: number): DlgforgeError {
  return new DlgforgeError(
    'store',
    `The tables in schema ${schema} are of a newer dlgforge (version ${version}; this one knows ${SCHEMA_VERSION}). ` +
      'Update dlgforge on this machine, or name another database in store.postgres.dsn.',
  );
}

const sql = (text: string): { name: string; text: string } => ({ name: '', text });
