/**
 * Connections to one Postgres server. Owns the pool, and what is known of each connection in it.
 *
 * Invariant P2: a connection that failed is never used again, and none that was made before one that died
 * without a word.
 */
import { Socket } from 'node:net';
import { Client, type ClientConfig, Pool, type PoolClient, type QueryResultRow, TypeOverrides } from 'pg';
import { DlgforgeError, InvariantError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { codeOf, isTransient, isUnreachable } from './faults.ts';
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

export interface ConnectionOptions {
  readonly poolMin: number;
  readonly poolMax: number;
  readonly connectTimeoutMs: number;
  /** 0: no limit. */
  readonly statementTimeoutMs: number;
  readonly logger: Logger;
}

/** A statement with a name is prepared once per connection. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

export interface Session {
  query<R extends QueryResultRow>(statement: Statement, values?: readonly unknown[]): Promise<R[]>;
}

interface Connection extends Pulsed {
  /** From 1, in the order of making. */
  readonly number: number;
}

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

export class Connections {
  readonly #source: ConnectionSource;
  readonly #options: ConnectionOptions;
  readonly #pool: Pool;
  readonly #pulse: Pulse;
  readonly #known = new WeakMap<object, Connection>();
  /** How many connections were made so far. */
  #made = 0;
  /** P2: those up to this one are not used again. */
  #suspect = 0;

  /** `onAway`: see `Pulse`. */
  constructor(source: ConnectionSource, options: ConnectionOptions, onAway: (reason: unknown) => () => void) {
    this.#source = source;
    this.#options = options;
    this.#pulse = new Pulse({
      config: () => this.#clientConfig(),
      onAway,
      onLost: () => this.#suspectAll(),
    });
    this.#pool = this.#makePool();
  }

  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    await this.#source.ensure();
    const client = await this.#connect();
    let broken = true;
    try {
      const result = await work(this.#sessionOf(client));
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

  /** Lets what is under way finish. */
  async close(): Promise<void> {
    await this.#pool.end();
    await this.#pulse.close();
    await this.#source.leave();
  }

  async #connect(): Promise<PoolClient> {
    for (;;) {
      const client = await this.#pool.connect();
      const connection = this.#known.get(client);
      if (connection === undefined || connection.number > this.#suspect) return client;
      client.release(true);
    }
  }

  #suspectAll(): void {
    this.#suspect = this.#made;
  }

  #sessionOf(client: PoolClient): Session {
    const connection = this.#known.get(client);
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
    this.#known.set(client, {
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
export function isOwnWord(error: unknown): boolean {
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
