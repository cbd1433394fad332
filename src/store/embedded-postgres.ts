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
import { closeSync, mkdirSync, openSync, readSync, realpathSync, renameSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientConfig } from 'pg';
import { DlgforgeError, isDlgforgeError } from '../kernel/errors.ts';
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
import { firstWorkingWay, LOCK_TAKEN, startServer, type StartedServer, waysFor } from './embedded/launch.ts';
import {
  isServerOf,
  type Postmaster,
  readPostmaster,
  removeStalePidFile,
  signalServer,
} from './embedded/postmaster.ts';
import { Presence } from './embedded/presence.ts';
import { isBusy, serverFault } from './embedded/server-fault.ts';
import { isUnreachable } from './postgres/faults.ts';

export interface EmbeddedPostgresOptions {
  /** The project's state folder; the database is `postgres` below it. */
  readonly stateDir: string;
  /** `$XDG_RUNTIME_DIR`, when there is one: where the socket goes. @default the temporary folder */
  readonly runtimeDir?: string | undefined;
  readonly logger: Logger;
  /** Longest wait for a server that starts or recovers. @default 120 000 */
  readonly startTimeoutMs?: number;
}

/** Settings that make the server small; what makes it safe is on and stays on. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  shared_buffers: '64MB',
  max_connections: '50',
  max_wal_size: '256MB',
  min_wal_size: '16MB',
  wal_compression: 'on',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_logical_replication_workers: '0',
  jit: 'off',
  max_parallel_workers_per_gather: '0',
  log_checkpoints: 'off',
  // A statement may hold a user's documents: none is ever logged.
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
};

const POLL_MS = 20;
const STOP_TIMEOUT_MS = 30_000;
/** A server that says it is ready but has lost its socket (a cleaner of temporary files) is replaced. */
const SOCKET_LOST_MS = 3_000;
const LOG_BYTES_MAX = 8 * 1024 * 1024;

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
    const deadlineMs = Date.now() + (this.#options.startTimeoutMs ?? 120_000);
    let started: StartedServer | null = null;
    let logStart = 0;
    let unreachableSinceMs = 0;
    for (;;) {
      const running = this.#running();
      if (running !== null) {
        if (await this.#tryEnter(running)) return;
        unreachableSinceMs = this.#replaceUnreachable(running, unreachableSinceMs);
      } else if (started === null) {
        logStart = sizeOf(this.#logFile);
        started = await this.#launch();
      }
      if (started?.exitCode() != null) {
        this.#judgeExit(started.exitCode(), logStart);
        started = null;
      }
      if (Date.now() > deadlineMs) throw this.#tooLate(logStart);
      await sleep(POLL_MS);
    }
  }

  /** The server on the folder, or null when one has to be started. */
  #running(): Postmaster | null {
    const postmaster = readPostmaster(this.#dataDir);
    if (postmaster === null || isServerOf(this.#dataDir, postmaster.pid)) return postmaster;
    removeStalePidFile(this.#dataDir, postmaster);
    return null;
  }

  async #tryEnter(postmaster: Postmaster): Promise<boolean> {
    if (postmaster.socketDir === '') return false;
    const address = {
      host: postmaster.socketDir,
      port: postmaster.port,
      user: SERVER_USER,
      database: 'postgres',
    };
    try {
      this.#presence = await Presence.enter({ ...address, connectionTimeoutMillis: 10_000 });
      this.#address = address;
      return true;
    } catch (error) {
      // Starting, stopping, or gone while we looked: look again.
      if (isUnreachable(error)) return false;
      throw error;
    }
  }

  async #launch(): Promise<StartedServer> {
    if (ownerOf(this.#dataDir) === null) {
      this.#say('info', `making the database in ${this.#dataDir}`);
      await createDataFolder(this.#dataDir, this.#binaries);
    }
    const owner = ownerOf(this.#dataDir) ?? { uid: 0, gid: 0 };
    const way = firstWorkingWay(waysFor(owner), this.#binaries.postgres, dirname(this.#dataDir));
    takeOver(this.#dataDir, way);
    const socketDir = makeSocketDir(this.#dataDir, way, this.#options.runtimeDir);
    const settings = { ...SETTINGS, unix_socket_directories: socketDir };
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
  #judgeExit(code: number | null, logStart: number): void {
    const output = readFrom(this.#logFile, logStart);
    if (code === LOCK_TAKEN || code === 0 || isBusy(output)) return;
    throw serverFault(output, this.#dataDir, this.#binaries.packageName);
  }

  #replaceUnreachable(postmaster: Postmaster, sinceMs: number): number {
    const now = Date.now();
    if (postmaster.status !== 'ready') return 0;
    if (sinceMs === 0) return now;
    if (now - sinceMs > SOCKET_LOST_MS) {
      this.#say('warn', 'the embedded database has lost its socket; starting it again');
      signalServer(this.#dataDir, postmaster.pid, 'SIGINT');
      return now;
    }
    return sinceMs;
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

  #tooLate(logStart: number): DlgforgeError {
    const output = readFrom(this.#logFile, logStart);
    return new DlgforgeError(
      'store',
      `The embedded database in ${this.#dataDir} is not ready after its time. If a process in another container ` +
        'uses this folder, stop that one; otherwise see postgres.log beside the folder, or set store.postgres.dsn.',
      { retryable: true, details: { output: output.slice(-2_000) } },
    );
  }

  #say(level: 'info' | 'warn', message: string): void {
    this.#options.logger.log(level, 'store', `[store] ${message}`);
  }
}

/** Bytes in the log; a long one is put aside first, so that at most two of them are kept. */
function sizeOf(logFile: string): number {
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= LOG_BYTES_MAX) return size;
  renameSync(logFile, join(dirname(logFile), `${basename(logFile)}.1`));
  return 0;
}

function readFrom(logFile: string, start: number): string {
  const buffer = Buffer.alloc(16_384);
  let file: number;
  try {
    file = openSync(logFile, 'r');
  } catch (error) {
    if (isDlgforgeError(error)) throw error;
    // The log is only for the wording of an error; without it the error is less telling.
    return '';
  }
  try {
    return buffer.toString('utf8', 0, readSync(file, buffer, 0, buffer.length, start));
  } finally {
    closeSync(file);
  }
}
