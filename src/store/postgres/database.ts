/**
 * Connections to one Postgres server. Owns the pool, the number of operations in flight, and the patience
 * with a server that is away. Everything that runs here may run more than once (see `Patience`).
 *
 * Invariants:
 * - P1 At most `poolMax` operations use connections, at most `QUEUE_MAX` wait; the next one is refused (I9).
 * - P2 A connection that failed is never used again, and none that was made before one that died in silence.
 * - P3 A transaction is committed whole or rolled back, also when this process freezes in the middle: the
 *   server ends one that idles.
 */
import { Socket } from 'node:net';
import { Client, type ClientConfig, Pool, type PoolClient, type QueryResultRow, TypeOverrides } from 'pg';
import { DlgforgeError, InvariantError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { storeClosed } from '../store-errors.ts';
import { codeOf, isTransient, isUnreachable } from './faults.ts';
import { Gate } from './gate.ts';
import { Patience } from './patience.ts';
import { pidOf, Pulse, type Pulsed } from './pulse.ts';

/** Where connections come from: the user's server, or the embedded one. */
export interface ConnectionSource {
  /** For people, without secrets. */
  readonly description: string;
  /** Before every connection: makes sure that there is a server, where that is our business. */
  ensure(): Promise<void>;
  /** Asked for every new connection. */
  config(): ClientConfig;
  /** After the last connection has ended. */
  leave(): Promise<void>;
}

export interface DatabaseOptions {
  readonly poolMin: number;
  readonly poolMax: number;
  readonly connectTimeoutMs: number;
  /** 0: no limit. */
  readonly statementTimeoutMs: number;
  readonly patienceMs: number;
  readonly onWaiting: (message: string | null) => void;
  readonly logger: Logger;
}

interface Connection extends Pulsed {
  /** From 1, in the order of making. */
  readonly number: number;
}

/** A statement with a name is prepared once per connection. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

export interface Session {
  query<R extends QueryResultRow>(statement: Statement, values?: readonly unknown[]): Promise<R[]>;
}

const QUEUE_MAX = 10_000;
/**
 * Longest pause between two statements of a transaction; ours has none on purpose. Shorter than it takes to
 * notice that a node is frozen or cut off: what it had locked is free when another one takes over.
 */
const IDLE_IN_TRANSACTION_MS = 3_000;
/** The server's own limit on a statement comes first. */
const ANSWER_MARGIN_MS = 5_000;
const KEEP_ALIVE_MS = 5_000;

/**
 * Every hot query goes by a key. A plan that was made while a table was still small must not scan it when it
 * has grown, and planning each call anew costs more than the call.
 */
const SESSION_SETTINGS = '-c enable_seqscan=off -c plan_cache_mode=force_generic_plan -c jit=off';

const OID_INT8 = 20;
/** Counters and positions: safe integers. */
const TYPES = new TypeOverrides();
TYPES.setTypeParser(OID_INT8, Number);

export class Database {
  readonly description: string;
  readonly #source: ConnectionSource;
  readonly #options: DatabaseOptions;
  readonly #pool: Pool;
  readonly #gate: Gate;
  readonly #patience: Patience;
  readonly #pulse: Pulse;
  readonly #connections = new WeakMap<object, Connection>();
  /** How many connections were made so far. */
  #made = 0;
  /** P2: those up to this one are not used again. */
  #suspect = 0;
  readonly #closing = new AbortController();

  constructor(source: ConnectionSource, options: DatabaseOptions) {
    this.description = source.description;
    this.#source = source;
    this.#options = options;
    this.#gate = new Gate(options.poolMax, QUEUE_MAX);
    this.#patience = new Patience({
      patienceMs: options.patienceMs,
      onWaiting: options.onWaiting,
      where: source.description,
      signal: this.#closing.signal,
    });
    this.#pulse = new Pulse({
      config: () => this.#clientConfig(),
      onAway: (reason) => this.#patience.begin(reason),
      onLost: () => this.#suspectAll(),
    });
    this.#pool = this.#makePool();
  }

  /** One statement, or several that need not be together; repeated when the connection is lost. */
  async run<T>(work: (session: Session, tryNumber: number) => Promise<T>): Promise<T> {
    return await this.#gate.pass(() => this.#patience.run((tryNumber) => this.#attempt(work, tryNumber)));
  }

  /** All or nothing; repeated when the connection is lost, so it must recognise what it has already done. */
  async transaction<T>(work: (session: Session) => Promise<T>, mode = ''): Promise<T> {
    return await this.run((session) => inTransaction(session, work, mode));
  }

  /** Tries once, without patience: for finding out whether there is a server. */
  async once<T>(work: (session: Session) => Promise<T>): Promise<T> {
    return await this.#attempt(work, 1);
  }

  /** Ends waiting operations, lets running ones finish. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    await this.#pool.end();
    await this.#pulse.close();
    await this.#source.leave();
  }

  async #attempt<T>(
    work: (session: Session, tryNumber: number) => Promise<T>,
    tryNumber: number,
  ): Promise<T> {
    if (this.#closing.signal.aborted) throw storeClosed();
    await this.#source.ensure();
    const client = await this.#connect();
    let broken = true;
    try {
      const result = await work(this.#sessionOf(client), tryNumber);
      broken = false;
      return result;
    } catch (error) {
      // Only the server's own refusals leave a connection in order.
      broken = !isOwnWord(error) && (isTransient(error) || codeOf(error) === '');
      if (broken && isUnreachable(error)) this.#suspectAll();
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async #connect(): Promise<PoolClient> {
    for (;;) {
      const client = await this.#pool.connect();
      const connection = this.#connections.get(client);
      if (connection === undefined || connection.number > this.#suspect) return client;
      client.release(true);
    }
  }

  #suspectAll(): void {
    this.#suspect = this.#made;
  }

  #sessionOf(client: PoolClient): Session {
    const connection = this.#connections.get(client);
    return {
      query: async <R extends QueryResultRow>(
        { name, text }: Statement,
        values: readonly unknown[] = [],
      ): Promise<R[]> => {
        const answered = connection === undefined ? null : this.#pulse.asked(connection, bytesOf(values));
        try {
          return (await client.query<R>({ name, text, values: values as unknown[] })).rows;
        } finally {
          answered?.();
        }
      },
    };
  }

  #clientConfig(): ClientConfig {
    const { connectTimeoutMs, statementTimeoutMs } = this.#options;
    return {
      application_name: 'dlgforge',
      options: SESSION_SETTINGS,
      connectionTimeoutMillis: connectTimeoutMs,
      statement_timeout: statementTimeoutMs,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
      ...(statementTimeoutMs > 0 ? { query_timeout: statementTimeoutMs + ANSWER_MARGIN_MS } : {}),
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      types: TYPES,
      ...this.#source.config(),
    };
  }

  #register(client: Client, socket: Socket): void {
    this.#made += 1;
    this.#connections.set(client, {
      number: this.#made,
      get pid() {
        return pidOf(client);
      },
      cut: () => socket.destroy(),
    });
  }

  #makePool(): Pool {
    const { poolMin, poolMax, connectTimeoutMs, logger } = this.#options;
    const config = (): ClientConfig => this.#clientConfig();
    const register = (client: Client, socket: Socket): void => this.#register(client, socket);
    class SourcedClient extends Client {
      constructor() {
        const socket = new Socket();
        super({ ...config(), stream: () => socket });
        register(this, socket);
        // Its loss is reported to the query that it had, and noticed by the pool when it had none. Without
        // a listener the event would end the process, also for one that the pool has already let go.
        this.on('error', () => undefined);
      }
    }
    const pool = new Pool({
      min: poolMin,
      max: poolMax,
      idleTimeoutMillis: 30_000,
      connectionTimeoutMillis: connectTimeoutMs,
      Client: SourcedClient,
    });
    pool.on('error', (error) => {
      logger.log('debug', 'store', `[store] an idle connection was lost: ${error.message}`);
    });
    return pool;
  }
}

/** Errors of ours that a work threw on purpose; the connection is in order. */
function isOwnWord(error: unknown): boolean {
  return error instanceof DlgforgeError || error instanceof InvariantError;
}

/** About what a statement sends. */
function bytesOf(values: readonly unknown[]): number {
  let bytes = 0;
  for (const value of values) {
    if (typeof value === 'string' || Buffer.isBuffer(value)) bytes += value.length;
  }
  return bytes;
}

/** What a work returns when its transaction is to end without a trace. */
export const UNDONE = Symbol('undone');

const COMMIT = { name: '', text: 'COMMIT' };
const ROLLBACK = { name: '', text: 'ROLLBACK' };

async function inTransaction<T>(
  session: Session,
  work: (session: Session) => Promise<T>,
  mode: string,
): Promise<T> {
  await session.query({ name: '', text: `BEGIN ${mode}` });
  try {
    const result = await work(session);
    await session.query(result === UNDONE ? ROLLBACK : COMMIT);
    return result;
  } catch (error) {
    // A connection that is gone has rolled back by itself.
    if (isOwnWord(error) || !isTransient(error)) await session.query(ROLLBACK);
    throw error;
  }
}
