/**
 * Listening for other machines in the name of this process. Owns where that is, and the way in for them; what the
 * server itself is told goes through `tcp-listen.ts`.
 */
import { NODE_USER, prepareNodeRole } from './node-role.ts';
import type { Presence } from './presence.ts';
import {
  askToListen,
  checkListen,
  type EmbeddedListen,
  freePort,
  stopAskingToListen,
  type TcpPlace,
} from './tcp-listen.ts';

export interface EmbeddedTcp extends TcpPlace {
  readonly user: string;
  readonly database: string;
}

export class Listener {
  readonly #dataDir: string;
  readonly #database: string;
  readonly #listen: EmbeddedListen;
  /** Null until a port is chosen. */
  #place: TcpPlace | null = null;

  /** @throws DlgforgeError `config` for what must not listen. */
  constructor(dataDir: string, database: string, listen: EmbeddedListen) {
    checkListen(listen);
    this.#dataDir = dataDir;
    this.#database = database;
    this.#listen = listen;
  }

  get tcp(): EmbeddedTcp | null {
    return this.#place === null ? null : { ...this.#place, user: NODE_USER, database: this.#database };
  }

  /** A secret as a whole (I8). */
  dsn({ host, port, user, database }: EmbeddedTcp): string {
    const password = encodeURIComponent(this.#listen.password);
    return `postgres://${user}:${password}@${host.includes(':') ? `[${host}]` : host}:${port}/${database}`;
  }

  /** Whoever starts the server next, starts it listening. */
  async ask(): Promise<void> {
    const { host, port } = this.#listen;
    this.#place ??= { host, port: port === 0 ? await freePort(host) : port };
    askToListen(this.#dataDir, this.#place);
  }

  stopAsking(): void {
    stopAskingToListen(this.#dataDir);
  }

  /** Whether the server listens as this process wants it to; then lets other machines in. */
  async admit(presence: Presence): Promise<boolean> {
    const { host, port, password } = this.#listen;
    const [now] = await presence.query<TcpPlace>(
      `SELECT current_setting('listen_addresses') AS host, current_setting('port')::int AS port`,
    );
    if (now === undefined || now.host !== host || (port !== 0 && now.port !== port)) return false;
    this.#place = now;
    askToListen(this.#dataDir, now);
    await prepareNodeRole((sql) => presence.query(sql), this.#database, password);
    return true;
  }
}
