/**
 * The database as a place to work in. Owns the number of operations in flight, and the patience with a server
 * that is away. Everything that runs here may run more than once (see `Patience`).
 *
 * Invariants:
 * - P1 At most `poolMax` operations use connections, at most `QUEUE_MAX` wait; the next one is refused (I9).
 * - P2 No operation gets a dead connection twice (see `Connections`).
 * - P3 A transaction is committed whole or rolled back, also when this process freezes in the middle: the
 *   server ends one that idles.
 */
import { storeClosed } from '../store-errors.ts';
import {
  type ConnectionOptions,
  Connections,
  type ConnectionSource,
  isOwnWord,
  type Session,
} from './connections.ts';
import { isTransient } from './faults.ts';
import { Gate } from './gate.ts';
import { Patience } from './patience.ts';

export type { ConnectionSource, Session, Statement } from './connections.ts';

export interface DatabaseOptions extends ConnectionOptions {
  readonly patienceMs: number;
  readonly onWaiting: (message: string | null) => void;
}

const QUEUE_MAX = 10_000;

export class Database {
  readonly description: string;
  readonly #connections: Connections;
  readonly #gate: Gate;
  readonly #patience: Patience;
  readonly #closing = new AbortController();

  constructor(source: ConnectionSource, options: DatabaseOptions) {
    this.description = source.description;
    this.#gate = new Gate(options.poolMax, QUEUE_MAX);
    this.#patience = new Patience({
      patienceMs: options.patienceMs,
      onWaiting: options.onWaiting,
      where: source.description,
      signal: this.#closing.signal,
    });
    this.#connections = new Connections(source, options, (reason) => this.#patience.begin(reason));
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
    await this.#connections.close();
  }

  async #attempt<T>(
    work: (session: Session, tryNumber: number) => Promise<T>,
    tryNumber: number,
  ): Promise<T> {
    if (this.#closing.signal.aborted) throw storeClosed();
    return await this.#connections.use((session) => work(session, tryNumber));
  }
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
