/**
 * Who uses the embedded server. Every process holds one connection with a shared advisory lock for as long
 * as it uses the server; the lock goes with the process, however it dies. Whoever leaves and then gets the
 * same lock exclusively is the last one, and while it holds the lock nobody can come in.
 */
import { Client, type ClientConfig, type QueryResultRow } from 'pg';

export const APPLICATION_NAME = 'dlgforge';

/** Names the lock: "dlgf", "orge" as two numbers. */
const LOCK_KEYS = [0x646c6766, 0x6f726765] as const;
const LOCK = LOCK_KEYS.join(', ');
const HOLDERS = `SELECT count(*) FILTER (WHERE granted AND mode = 'ShareLock')::int AS present,
    count(*) FILTER (WHERE NOT granted)::int AS arriving
  FROM pg_locks WHERE locktype = 'advisory' AND classid = ${LOCK_KEYS[0]} AND objid = ${LOCK_KEYS[1]}`;
/** Sessions of other programs, such as a person's psql; not who only knocks. */
const GUESTS = `SELECT count(*)::int AS guests FROM pg_stat_activity
  WHERE backend_type = 'client backend' AND usename IS NOT NULL AND application_name <> '${APPLICATION_NAME}'`;

export class Presence {
  readonly #client: Client;
  #alive = true;

  private constructor(client: Client) {
    this.#client = client;
    // A lost connection is noticed by whoever asks for `alive` next.
    const lost = (): void => {
      this.#alive = false;
    };
    client.on('error', lost);
    client.on('end', lost);
  }

  /** Connects and stays. Rejects with pg's own error, which the caller judges. */
  static async enter(config: ClientConfig): Promise<Presence> {
    const client = new Client({ ...config, application_name: APPLICATION_NAME });
    const presence = new Presence(client);
    try {
      await client.connect();
      // Somebody who is leaving has the lock for a moment; one who hangs there does not hold us up for ever.
      await client.query(`SET lock_timeout = '10s'`);
      await client.query(`SELECT pg_advisory_lock_shared(${LOCK})`);
      return presence;
    } catch (error) {
      await client.end();
      throw error;
    }
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Leaves; `stop` runs before that when nobody else is in or on the way in. */
  async leave(stop: () => Promise<void>): Promise<void> {
    try {
      if (this.#alive && (await this.#isLast())) await stop();
    } finally {
      await this.#client.end();
    }
  }

  /** Goes away without looking back: after an error nobody knows what state the connection is in. */
  async abandon(): Promise<void> {
    await this.#client.end();
  }

  async query<T extends QueryResultRow>(sql: string): Promise<T[]> {
    const { rows } = await this.#client.query<T>(sql);
    return rows;
  }

  async #isLast(): Promise<boolean> {
    await this.#client.query(`SELECT pg_advisory_unlock_shared(${LOCK})`);
    const [tried] = await this.query<{ ok: boolean }>(`SELECT pg_try_advisory_lock(${LOCK}) AS ok`);
    // Not got: somebody is in, or another one is just leaving and has the lock to decide about the end.
    if (tried?.ok !== true) return false;
    const [holders] = await this.query<{ arriving: number }>(HOLDERS);
    const [others] = await this.query<{ guests: number }>(GUESTS);
    return holders?.arriving === 0 && others?.guests === 0;
  }
}
