/**
 * The embedded database: a real Postgres server on a folder of the project, reached by a Unix socket only.
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
 */
import { closeSync, mkdirSync, openSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientConfig } from 'pg';
import { DlgforgeError } from '../kernel/errors.ts';
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
import { SERVER_SETTINGS } from './embedded/settings.ts';
import { isBusy, serverFault } from './embedded/server-fault.ts';
import { isTransient, reasonOf } from './postgres/faults.ts';

export interface EmbeddedPostgresOptions {
  /** The project's state folder; the database is `postgres` below it. */
  readonly stateDir: string;
  /** `$XDG_RUNTIME_DIR`, when there is one: where the socket goes. @default the temporary folder */
  readonly runtimeDir?: string | undefined;
  readonly logger: Logger;
  /** Longest wait for a server that starts or recovers. @default 120 000 */
  readonly startTimeoutMs?: number;
}

const POLL_MS = 20;
const STOP_TIMEOUT_MS = 30_000;
/** A server that says it is ready but has lost its socket (a cleaner of temporary files) is replaced. */
const SOCKET_LOST_MS = 3_000;
const KILLED_STARTS_MAX = 3;

/** One way in, with what has been seen on it. */
interface Attempt {
  readonly deadlineMs: number;
  started: StartedServer | null;
  launches: number;
  /** Where the log of the last launch begins. */
  logStart: number;
  noSocketSinceMs: number | null;
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
    await presence?.leave(() => this.#stop());
  }

  async #enter(): Promise<void> {
    const attempt: Attempt = {
      deadlineMs: Date.now() + (this.#options.startTimeoutMs ?? 120_000),
      started: null,
      launches: 0,
      logStart: beginLog(this.#logFile),
      noSocketSinceMs: null,
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
    const address = { ...socket, user: SERVER_USER, database: 'postgres' };
    try {
      this.#presence = await Presence.enter({ ...address, connectionTimeoutMillis: 10_000 });
      this.#address = address;
      return true;
    } catch (error) {
      // Starting, stopping, or gone while we looked: look again.
      if (!isTransient(error)) throw error;
      attempt.reason = reasonOf(error);
      return false;
    }
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
    const settings = { ...SERVER_SETTINGS, unix_socket_directories: socketDir };
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const log = openSync(this.#logFile, 'a', 0o600);
    try {
      const lockFile = join(this.#dataDir, 'PG_VERSION');
      return startServer(way, this.#binaries.postgres, ['-D', this.#dataDir, ...args], lockFile, log);
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
