/**
 * Notices connections that are dead and do not say so. When packets were lost for a while, TCP waits about as
 * long again before it sends the next one, and a firewall that has forgotten a connection never answers on it;
 * a time-out alone would have to be longer than the longest statement. So a statement that is silent for some
 * seconds is asked about on a fresh connection: one that the server does not work on is given up, and whoever
 * waits for it looks up what became of it and repeats it.
 *
 * Owns the statements under way and what people are told about a server that does not answer.
 */
import { Client, type ClientConfig } from 'pg';
import { isUnreachable } from './faults.ts';

export interface PulseOptions {
  readonly config: () => ClientConfig;
  /** The server does not answer for this reason; the returned function is called when it does again. */
  readonly onAway: (reason: unknown) => () => void;
  /** A connection was given up: others of its time may be dead too. */
  readonly onLost: () => void;
}

/** What the pulse knows of a connection. */
export interface Pulsed {
  /** Of the server's process; null until it has said so. */
  readonly pid: number | null;
  cut(): void;
}

interface Asked {
  readonly connection: Pulsed;
  dueMs: number;
}

const LOOK_EVERY_MS = 1_000;
const LOOK_TIMEOUT_MS = 2_000;
const SILENT_MS = 2_500;
/** A statement that the server works on is asked about again after this. */
const WORKING_MS = 5_000;
/** A slow line gets the time that it needs to carry the statement. */
const BYTES_PER_MS = 250;

export class Pulse {
  readonly #options: PulseOptions;
  readonly #asked = new Set<Asked>();
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<void> | null = null;
  #over: (() => void) | null = null;

  constructor(options: PulseOptions) {
    this.#options = options;
  }

  /** A statement of so many bytes goes to the server; the returned function says that it was answered. */
  asked(connection: Pulsed, bytes: number): () => void {
    const asked = { connection, dueMs: performance.now() + SILENT_MS + bytes / BYTES_PER_MS };
    this.#asked.add(asked);
    this.#timer ??= setInterval(() => this.#tick(), LOOK_EVERY_MS).unref();
    return () => this.#asked.delete(asked);
  }

  /** After the last statement. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#looking;
    this.#answers();
  }

  #tick(): void {
    const nowMs = performance.now();
    const silent = [...this.#asked].filter(({ dueMs }) => dueMs <= nowMs);
    if (silent.length === 0) this.#answers();
    else {
      this.#looking ??= this.#look(silent).finally(() => {
        this.#looking = null;
      });
    }
  }

  async #look(silent: readonly Asked[]): Promise<void> {
    const pids = silent.map(({ connection }) => connection.pid).filter((pid) => pid !== null);
    let working: ReadonlySet<number> | null;
    try {
      working = await workingOn(this.#options.config(), pids);
    } catch (error) {
      // A server that answers with a refusal says nothing about these statements; their time-out remains.
      if (isUnreachable(error)) this.#over ??= this.#options.onAway(error);
      return;
    }
    // Who repeats what was given up waits a moment more: people are told at the next look that it is over.
    if (working === null || !this.#giveUp(silent, working)) this.#answers();
  }

  /** False when there was nothing to give up. */
  #giveUp(silent: readonly Asked[], working: ReadonlySet<number>): boolean {
    // What was answered while we looked is no longer among those asked.
    const waiting = silent.filter((asked) => this.#asked.has(asked));
    for (const asked of waiting) {
      const { pid } = asked.connection;
      if (pid === null || working.has(pid)) asked.dueMs = performance.now() + WORKING_MS;
    }
    const lost = waiting.filter(({ dueMs }) => dueMs <= performance.now());
    if (lost.length > 0) this.#options.onLost();
    for (const { connection } of lost) connection.cut();
    return lost.length > 0;
  }

  #answers(): void {
    this.#over?.();
    this.#over = null;
  }
}

/** Which of these processes of the server work on something; null where a pooler hides them. */
async function workingOn(config: ClientConfig, pids: readonly number[]): Promise<ReadonlySet<number> | null> {
  const client = new Client({
    ...config,
    connectionTimeoutMillis: LOOK_TIMEOUT_MS,
    query_timeout: LOOK_TIMEOUT_MS,
  });
  // What it loses, its query reports.
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ own: number; working: number[] }>(WORKING, [pids]);
    const [row] = rows;
    return row === undefined || row.own !== pidOf(client) ? null : new Set(row.working);
  } finally {
    // A connection that hangs would not end in order either, and nobody needs it to.
    void client.end();
  }
}

/** Where a server does not track what its processes do, all of them count as working. */
const WORKING = `SELECT pg_backend_pid() AS own, ARRAY(
    SELECT pid FROM pg_stat_activity WHERE pid = ANY($1::int[]) AND coalesce(state, '') NOT LIKE 'idle%'
  ) AS working`;

/** pg keeps it for cancelling; its types do not say so. */
export function pidOf(client: Client): number | null {
  return (client as Client & { readonly processID: number | null }).processID;
}
