import { setTimeout as sleep } from 'node:timers/promises';
import { DlgforgeError, isDlgforgeError } from '../kernel/errors.ts';
import { type Logger, silentLogger } from '../kernel/logger.ts';
import type { Store } from '../ports/store.ts';
import { EmbeddedPostgres } from './embedded-postgres.ts';
import { type ConnectionSource, Database, type Statement } from './postgres/database.ts';
import { dsnSource } from './postgres/dsn.ts';
import { codeOf, reasonOf } from './postgres/faults.ts';
import { schemaState, type SchemaState } from './postgres/migrate.ts';
import { PostgresStore } from './postgres-store.ts';

export { isProcessAlive, processIdentity } from './process-identity.ts';

export interface OpenStoreOptions {
  /** The user's own server; empty or missing: the embedded one. A secret as a whole (I8). */
  readonly dsn?: string | undefined;
  /** The project's state folder; the embedded database is below it. */
  readonly stateDir: string;
  /** `$XDG_RUNTIME_DIR`, for the socket of the embedded database. @default the temporary folder */
  readonly runtimeDir?: string | undefined;
  /** Name of the schema that holds the tables. @default 'dlgforge' */
  readonly schema?: string;
  /** Connections kept open. @default 1 */
  readonly poolMin?: number;
  /** Connections at most; the embedded server is never given more than 6 per process. @default 30 */
  readonly poolMax?: number;
  /** @default 10 000 */
  readonly connectTimeoutMs?: number;
  /** Longest statement; 0: no limit. @default 30 000 */
  readonly statementTimeoutMs?: number;
  /** How long operations wait for a server that has gone away. @default 600 000 */
  readonly patienceMs?: number;
  /** Told what the store waits for, and null when it is over. */
  readonly onWaiting?: (message: string | null) => void;
  readonly logger?: Logger;
}

/** Commits in groups need few connections, and the embedded server has 50 for everybody. */
const EMBEDDED_POOL_MAX = 6;

/**
 * Opens the store: the user's Postgres, or the embedded one. A server that cannot be reached now is an error
 * now; one that goes away later is waited for.
 * @throws DlgforgeError `store`.
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  return await PostgresStore.open(await connect(options), options.schema ?? 'dlgforge');
}

export interface StoreInspection extends SchemaState {
  /** For people: where the store is, without secrets. */
  readonly description: string;
}

/**
 * Looks at the store as it is and changes nothing in it: no table is made or brought up to date.
 * @throws DlgforgeError `store` when it cannot be reached.
 */
export async function inspectStore(options: OpenStoreOptions): Promise<StoreInspection> {
  const database = await connect({ ...options, patienceMs: 0 });
  try {
    const state = await database.once((session) => schemaState(session, options.schema ?? 'dlgforge'));
    return { description: database.description, ...state };
  } finally {
    await database.close();
  }
}

async function connect(options: OpenStoreOptions): Promise<Database> {
  const dsn = options.dsn?.trim() ?? '';
  const embedded = dsn === '';
  const source = embedded ? await embeddedSource(options) : dsnSource(dsn);
  const poolMax = Math.max(1, options.poolMax ?? 30);
  const database = new Database(source, {
    poolMin: embedded ? 1 : Math.min(options.poolMin ?? 1, poolMax),
    poolMax: embedded ? Math.min(poolMax, EMBEDDED_POOL_MAX) : poolMax,
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    statementTimeoutMs: options.statementTimeoutMs ?? 30_000,
    patienceMs: options.patienceMs ?? 600_000,
    onWaiting: options.onWaiting ?? (() => undefined),
    logger: options.logger ?? silentLogger,
  });
  if (!embedded) await firstConnection(database, source, options);
  return database;
}

async function embeddedSource(options: OpenStoreOptions): Promise<ConnectionSource> {
  const { stateDir, runtimeDir, logger = silentLogger } = options;
  const server = await EmbeddedPostgres.open({ stateDir, runtimeDir, logger }).catch((error: unknown) => {
    throw codeOf(error) === '' || isDlgforgeError(error) ? error : unusableFolder(error, stateDir);
  });
  return {
    description: `embedded database in ${server.dataDir}`,
    ensure: () => server.ensure(),
    config: () => server.address,
    leave: () => server.leave(),
  };
}

async function firstConnection(
  database: Database,
  source: ConnectionSource,
  options: OpenStoreOptions,
): Promise<void> {
  const deadlineMs = Date.now() + (options.connectTimeoutMs ?? 10_000);
  for (;;) {
    try {
      await database.once(async (session) => {
        const [row] = await session.query<{ fsync: string; commits: string }>(DURABILITY);
        if (row !== undefined) warnIfUnsafe(row, source, options.logger ?? silentLogger);
      });
      return;
    } catch (error) {
      if (codeOf(error) === STARTING_UP && Date.now() < deadlineMs) {
        await sleep(100);
        continue;
      }
      await database.close();
      throw isDlgforgeError(error) ? error : noConnection(error, source);
    }
  }
}

/** SQLSTATE cannot_connect_now. */
const STARTING_UP = '57P03';

const DURABILITY: Statement = {
  name: '',
  text: `SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commits`,
};

function warnIfUnsafe(
  settings: { readonly fsync: string; readonly commits: string },
  source: ConnectionSource,
  logger: Logger,
): void {
  if (settings.fsync !== 'off' && settings.commits !== 'off') return;
  logger.log(
    'warn',
    'store',
    `[store] ${source.description} runs with fsync=${settings.fsync}, synchronous_commit=${settings.commits}: ` +
      'answers that were paid for can be lost when that machine loses power. Turn both on.',
  );
}

function unusableFolder(cause: unknown, stateDir: string): DlgforgeError {
  const full = codeOf(cause) === 'ENOSPC';
  return new DlgforgeError(
    'store',
    `The embedded database cannot be kept in ${stateDir}: ${reasonOf(cause)}. ` +
      `${full ? 'Free some space' : 'Make the folder writable for this user'}, or set store.postgres.dsn.`,
    { cause },
  );
}

function noConnection(cause: unknown, source: ConnectionSource): DlgforgeError {
  return new DlgforgeError(
    'store',
    `No connection to ${source.description}: ${reasonOf(cause)}. Start that server, correct store.postgres.dsn ` +
      '(or DLGFORGE_POSTGRES_DSN), or leave it empty to use the embedded database.',
    { retryable: true, cause },
  );
}
