/**
 * The embedded database: a real Postgres server on a folder of the project, reached by a Unix socket, and by
 * other machines where somebody asks for that. Owns the folder, the server process while nobody else does, and
 * this process's presence in it.
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
import { mkdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientConfig } from 'pg';
import { DlgforgeError, invariant } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import { findServerBinaries, type ServerBinaries } from './embedded/binaries.ts';
import { SERVER_USER } from './embedded/data-folder.ts';
import { LOCK_TAKEN, type ServerEnd, type StartedServer } from './embedded/launch.ts';
import { type EmbeddedTcp, Listener } from './embedded/listener.ts';
import {
  isServerOf,
  type Postmaster,
  reachableSocketDir,
  readPostmaster,
  removeStalePidFile,
  signalServer,
} from './embedded/postmaster.ts';
import { Presence } from './embedded/presence.ts';
import { launchServer, stopServer } from './embedded/server.ts';
import { beginLog, readLog } from './embedded/server-log.ts';
import { isBusy, serverFault } from './embedded/server-fault.ts';
import type { EmbeddedListen } from './embedded/tcp-listen.ts';
import { isTransient, reasonOf } from './postgres/faults.ts';

export type { EmbeddedTcp } from './embedded/listener.ts';
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
  /** Null: no other machine is let in by this process. */
  readonly #listener: Listener | null;
  #entering: Promise<void> | null = null;

  private constructor(options: EmbeddedPostgresOptions, binaries: ServerBinaries) {
    mkdirSync(options.stateDir, { recursive: true });
    this.#dataDir = join(realpathSync(options.stateDir), 'postgres');
    this.#logFile = join(options.stateDir, 'postgres.log');
    this.#binaries = binaries;
    this.#options = options;
    this.#listener =
      options.listen === undefined ? null : new Listener(this.#dataDir, DATABASE, options.listen);
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

  /** Where other machines reach it, and as whom; null when this process did not ask for that. */
  get tcp(): EmbeddedTcp | null {
    return this.#listener?.tcp ?? null;
  }

  /**
   * The DSN for other machines, with the password in it: a secret as a whole (I8). `host` is the name by which
   * they reach this machine, for a server that listens on all addresses.
   */
  dsnForOthers(host?: string): string {
    const tcp = this.#listener?.tcp ?? null;
    invariant(this.#listener !== null && tcp !== null, 'the server listens for other machines');
    return this.#listener.dsn(host === undefined ? tcp : { ...tcp, host });
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
    this.#listener?.stopAsking();
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
      if (!(await this.#admitOthers(presence, attempt))) return false;
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

  /** Lets other machines in where that is asked for; false when the server has to start anew for it. */
  async #admitOthers(presence: Presence, attempt: Attempt): Promise<boolean> {
    if (this.#listener === null) return true;
    try {
      if (await this.#listener.admit(presence)) return true;
    } catch (error) {
      await presence.abandon();
      throw error;
    }
    await this.#startAnew(presence, this.#listener, attempt);
    return false;
  }

  async #startAnew(presence: Presence, listener: Listener, attempt: Attempt): Promise<void> {
    await listener.ask();
    let stopped = false;
    await presence.leave(async () => {
      await this.#stop();
      stopped = true;
    });
    if (stopped) return;
    attempt.inUseSinceMs ??= Date.now();
    if (Date.now() - attempt.inUseSinceMs < OTHERS_LEAVE_MS) return;
    listener.stopAsking();
    throw new DlgforgeError(
      'store',
      `The embedded database in ${this.#dataDir} has to start anew to listen for other machines, and other ` +
        'processes use it. Let their runs end (dlgforge runs list), then start again, or name a Postgres server ' +
        'of your own.',
      { retryable: true },
    );
  }

  async #launch(): Promise<StartedServer> {
    return await launchServer({
      dataDir: this.#dataDir,
      logFile: this.#logFile,
      binaries: this.#binaries,
      runtimeDir: this.#options.runtimeDir,
      listener: this.#listener,
      onMaking: () => this.#say('info', `making the database in ${this.#dataDir}`),
    });
  }

  #stop(): Promise<void> {
    return stopServer(this.#dataDir, () =>
      this.#say('warn', 'the embedded database did not stop in time and is stopped at once'),
    );
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
