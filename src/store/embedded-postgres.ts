/**
 * The embedded database: a real Postgres server on a folder of the project, reached by a Unix socket, and by TCP
 * from other machines where somebody asks for that.
 * Owns the folder, the server process while nobody else does, and this process's presence in it.
 *
 * Invariants:
 * - E1 At most one server has the folder: Postgres's own pid file, and a file lock that also reaches over
 *   containers.
 * - E2 The server belongs to nobody: it survives any process that uses it, and ends with the last one that
 *   leaves in order.
 * - E3 Whoever has entered is never stopped under: entering and stopping exclude each other by a lock in
 *   the database (see `presence.ts`); who comes at the wrong moment starts the server again.
 * - E4 The folder is whole or not there.
 * - E5 It listens by TCP only where it was asked to, and behind a password (see `tcp-listen.ts`).
 */
import { closeSync, mkdirSync, openSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientConfig } from 'pg';
import { DlgforgeError, invariant } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import { findServerBinaries, type ServerBinaries } from './embedded/binaries.ts';
import {
  createDataFolder,
  makeSocketDir,
  ownerOf,
  removeSocketDir,
  SERVER_USER,
  takeOver,
} from './embedded/data-folder.ts';
import {
  firstWorkingWay,
  LOCK_TAKEN,
  type ServerEnd,
  startServer,
  type StartedServer,
  waysToServe,
} from './embedded/launch.ts';
import {
  isServerOf,
  type Postmaster,
  reachableSocketDir,
  readPostmaster,
  removeStalePidFile,
  signalServer,
} from './embedded/postmaster.ts';
import { Presence } from './embedded/presence.ts';
import { beginLog, readLog } from './embedded/server-log.ts';
import { NODE_USER, prepareNodeRole } from './embedded/node-role.ts';
import { serverArguments } from './embedded/settings.ts';
import { isBusy, serverFault } from './embedded/server-fault.ts';
import {
  askToListen,
  checkListen,
  type EmbeddedListen,
  freePort,
  stopAskingToListen,
  type TcpPlace,
  wantedPlace,
  writeAccessFile,
} from './embedded/tcp-listen.ts';
import { isTransient, reasonOf } from './postgres/faults.ts';

export type { EmbeddedListen } from './embedded/tcp-listen.ts';

export interface EmbeddedPostgresOptions {
  /** The project's state folder; the database is `postgres` below it. */
  readonly stateDir: string;
  /** `$XDG_RUNTIME_DIR`, when there is one: where the socket goes. @default the temporary folder */
  readonly runtimeDir?: string | undefined;
  readonly logger: Logger;
  /** Longest wait for a server that starts or recovers. @default 120 000 */
  readonly startTimeoutMs?: number;
  /** Listens there too, for other machines, for as long as this process is in. @default the socket alone */
  readonly listen?: EmbeddedListen;
}

const DATABASE = 'postgres';
const POLL_MS = 20;
const STOP_TIMEOUT_MS = 30_000;
/** A server that says it is ready but has lost its socket (a cleaner of temporary files) is replaced. */
const SOCKET_LOST_MS = 3_000;
const KILLED_STARTS_MAX = 3;
/** Others who are on their way out of a server that has to be started anew are waited for so long. */
const OTHERS_LEAVE_MS = 2_000;

/** One way in, with what has been seen on it. */
interface Attempt {
  readonly deadlineMs: number;
  started: StartedServer | null;
  launches: number;
  /** Where the log of the last launch begins. */
  logStart: number;
  noSocketSinceMs: number | null;
  /** Since when others keep the server from being started anew. */
  inUseSinceMs: number | null;
  /** Why it has not worked so far. */
  reason: string;
}

export class EmbeddedPostgres {
  readonly #dataDir: string;
  readonly #logFile: string;
  readonly #binaries: ServerBinaries;
  readonly #options: EmbeddedPostgresOptions;
  #presence: Presence | null = null;
  #address: ClientConfig = {};
  /** Where this process wants it to listen; null: nowhere, or any free port of `listen.host`. */
  #place: TcpPlace | null = null;
  #entering: Promise<void> | null = null;

  private constructor(options: EmbeddedPostgresOptions, binaries: ServerBinaries) {
    mkdirSync(options.stateDir, { recursive: true });
    this.#dataDir = join(realpathSync(options.stateDir), 'postgres');
    this.#logFile = join(options.stateDir, 'postgres.log');
    this.#binaries = binaries;
    this.#options = options;
  }

  /** Enters the server of this folder; makes the database and starts the server when need be. */
  static async open(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
    if (options.listen !== undefined) checkListen(options.listen);
    const server = new EmbeddedPostgres(options, findServerBinaries());
    await server.ensure();
    return server;
  }

  get dataDir(): string {
    return this.#dataDir;
  }

  /** How to connect; may change when the server was started anew. */
  get address(): ClientConfig {
    return this.#address;
  }

  /** Where other machines reach it, as whom; null when this process did not ask for that. */
  get tcp(): {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly database: string;
  } | null {
    return this.#place === null ? null : { ...this.#place, user: NODE_USER, database: DATABASE };
  }

  /**
   * The DSN for other machines, with the password in it: a secret as a whole (I8). `host` is the name by which
   * they reach this machine, for a server that listens on all addresses.
   */
  dsnForOthers(host?: string): string {
    invariant(
      this.tcp !== null && this.#options.listen !== undefined,
      'the server listens for other machines',
    );
    const { port, user, database } = this.tcp;
    const name = host ?? this.tcp.host;
    const password = encodeURIComponent(this.#options.listen.password);
    return `postgres://${user}:${password}@${name.includes(':') ? `[${name}]` : name}:${port}/${database}`;
  }

  /** Enters again when the server has gone; costs nothing while this process is in. */
  async ensure(): Promise<void> {
    if (this.#presence?.alive === true) return;
    this.#entering ??= this.#enter().finally(() => {
      this.#entering = null;
    });
    await this.#entering;
  }

  /** Leaves; the last one stops the server. */
  async leave(): Promise<void> {
    const presence = this.#presence;
    this.#presence = null;
    if (this.#options.listen !== undefined) stopAskingToListen(this.#dataDir);
    await presence?.leave(() => this.#stop());
  }

  async #enter(): Promise<void> {
    const attempt: Attempt = {
      deadlineMs: Date.now() + (this.#options.startTimeoutMs ?? 120_000),
      started: null,
      launches: 0,
      logStart: beginLog(this.#logFile),
      noSocketSinceMs: null,
      inUseSinceMs: null,
      reason: 'it did not answer',
    };
    while (!(await this.#step(attempt))) {
      if (Date.now() > attempt.deadlineMs) throw this.#tooLate(attempt);
      await sleep(POLL_MS);
    }
  }

  /** Looks, and does what is next; true when this process is in. */
  async #step(attempt: Attempt): Promise<boolean> {
    const running = this.#running();
    if (running !== null) {
      const socketDir = reachableSocketDir(running);
      if (socketDir !== null) return await this.#tryEnter({ host: socketDir, port: running.port }, attempt);
      this.#replaceWithoutSocket(running, attempt);
    } else if (attempt.started === null) {
      attempt.logStart = beginLog(this.#logFile);
      attempt.started = await this.#launch();
      attempt.launches += 1;
    }
    const end = attempt.started?.end() ?? null;
    if (end !== null) await this.#afterEnd(end, attempt);
    return false;
  }

  /** The server on the folder, or null when one has to be started. */
  #running(): Postmaster | null {
    const postmaster = readPostmaster(this.#dataDir);
    if (postmaster === null || isServerOf(this.#dataDir, postmaster.pid)) return postmaster;
    removeStalePidFile(this.#dataDir, postmaster);
    return null;
  }

  async #tryEnter(
    socket: { readonly host: string; readonly port: number },
    attempt: Attempt,
  ): Promise<boolean> {
    const address = { ...socket, user: SERVER_USER, database: DATABASE };
    try {
      const presence = await Presence.enter({ ...address, connectionTimeoutMillis: 10_000 });
      if (!(await this.#listensAsAsked(presence))) {
        await this.#stopToListen(presence, attempt);
        return false;
      }
      this.#presence = presence;
      this.#address = address;
      return true;
    } catch (error) {
      // Starting, stopping, or gone while we looked: look again.
      if (!isTransient(error)) throw error;
      attempt.reason = reasonOf(error);
      return false;
    }
  }

  /** Also makes ready for other machines a server that does. */
  async #listensAsAsked(presence: Presence): Promise<boolean> {
    const { listen } = this.#options;
    if (listen === undefined) return true;
    const [now] = await presence.query<TcpPlace>(
      `SELECT current_setting('listen_addresses') AS host, current_setting('port')::int AS port`,
    );
    if (now === undefined || now.host !== listen.host) return false;
    if (listen.port !== 0 && listen.port !== now.port) return false;
    this.#place = now;
    askToListen(this.#dataDir, now);
    try {
      await prepareNodeRole((sql) => presence.query(sql), DATABASE, listen.password);
    } catch (error) {
      await presence.abandon();
      throw error;
    }
    return true;
  }

  /** Whoever starts it next, starts it listening. */
  async #stopToListen(presence: Presence, attempt: Attempt): Promise<void> {
    await this.#askToListen();
    let stopped = false;
    await presence.leave(async () => {
      await this.#stop();
      stopped = true;
    });
    if (stopped) return;
    attempt.inUseSinceMs ??= Date.now();
    if (Date.now() - attempt.inUseSinceMs < OTHERS_LEAVE_MS) return;
    stopAskingToListen(this.#dataDir);
    throw new DlgforgeError(
      'store',
      `The embedded database in ${this.#dataDir} has to start anew to listen for other machines, and other ` +
        'processes use it. Let their runs end (dlgforge runs list), then start again, or name a Postgres server ' +
        'of your own.',
      { retryable: true },
    );
  }

  async #askToListen(): Promise<void> {
    const { listen } = this.#options;
    if (listen === undefined) return;
    this.#place ??= {
      host: listen.host,
      port: listen.port === 0 ? await freePort(listen.host) : listen.port,
    };
    askToListen(this.#dataDir, this.#place);
  }

  async #launch(): Promise<StartedServer> {
    if (ownerOf(this.#dataDir) === null) {
      this.#say('info', `making the database in ${this.#dataDir}`);
      await createDataFolder(this.#dataDir, this.#binaries);
    }
    const owner = ownerOf(this.#dataDir) ?? { uid: 0, gid: 0 };
    const way = firstWorkingWay(waysToServe(owner), this.#binaries.postgres, dirname(this.#dataDir));
    takeOver(this.#dataDir, way);
    const socketDir = makeSocketDir(this.#dataDir, way, this.#options.runtimeDir);
    await this.#askToListen();
    writeAccessFile(this.#dataDir);
    const args = serverArguments(this.#dataDir, socketDir, wantedPlace(this.#dataDir));
    const log = openSync(this.#logFile, 'a', 0o600);
    try {
      const lockFile = join(this.#dataDir, 'PG_VERSION');
      return startServer(way, this.#binaries.postgres, args, lockFile, log);
    } finally {
      closeSync(log);
    }
  }

  /** A server that we started has ended: somebody else was first, or it is a fault to report. */
  async #afterEnd(end: ServerEnd, attempt: Attempt): Promise<void> {
    const output = readLog(this.#logFile, attempt.logStart);
    const killed = end.code === null && attempt.launches <= KILLED_STARTS_MAX;
    if (end.code !== LOCK_TAKEN && end.code !== 0 && !killed && !isBusy(output)) {
      throw serverFault(
        `${output}\n${end.code === null ? end.reason : ''}`,
        this.#dataDir,
        this.#binaries.packageName,
      );
    }
    attempt.started = null;
    attempt.reason = end.code === LOCK_TAKEN ? 'another server has its lock' : end.reason;
    await sleep(Math.min(1_000, 25 * 2 ** Math.min(attempt.launches, 6)));
  }

  #replaceWithoutSocket(postmaster: Postmaster, attempt: Attempt): void {
    if (postmaster.status !== 'ready') {
      attempt.noSocketSinceMs = null;
      return;
    }
    attempt.noSocketSinceMs ??= Date.now();
    if (Date.now() - attempt.noSocketSinceMs < SOCKET_LOST_MS) return;
    this.#say('warn', 'the embedded database has lost its socket; starting it again');
    signalServer(this.#dataDir, postmaster.pid, 'SIGINT');
    attempt.noSocketSinceMs = null;
  }

  async #stop(): Promise<void> {
    const postmaster = readPostmaster(this.#dataDir);
    if (postmaster === null) return;
    signalServer(this.#dataDir, postmaster.pid, 'SIGINT');
    if (!(await this.#isGone(postmaster, STOP_TIMEOUT_MS))) {
      this.#say('warn', 'the embedded database did not stop in time and is stopped at once');
      signalServer(this.#dataDir, postmaster.pid, 'SIGQUIT');
      await this.#isGone(postmaster, 5_000);
    }
    removeSocketDir(postmaster.socketDir);
  }

  async #isGone(postmaster: Postmaster, timeoutMs: number): Promise<boolean> {
    const deadlineMs = Date.now() + timeoutMs;
    while (
      readPostmaster(this.#dataDir)?.pid === postmaster.pid &&
      isServerOf(this.#dataDir, postmaster.pid)
    ) {
      if (Date.now() > deadlineMs) return false;
      await sleep(POLL_MS);
    }
    return true;
  }

  #tooLate(attempt: Attempt): DlgforgeError {
    const output = readLog(this.#logFile, attempt.logStart);
    return new DlgforgeError(
      'store',
      `The embedded database in ${this.#dataDir} is not ready after its time: ${attempt.reason}. If a process in ` +
        'another container uses this folder, stop that one; otherwise see postgres.log beside the folder, or set ' +
        'store.postgres.dsn.',
      { retryable: true, details: { output: output.slice(-2_000) } },
    );
  }

  #say(level: 'info' | 'warn', message: string): void {
    this.#options.logger.log(level, 'store', `[store] ${message}`);
  }
}
