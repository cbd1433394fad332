/**
 * The NATS server of a head that was given none: started here, started again when it dies, stopped with the head.
 * Owns the server's folder, its process and the note beside it that says which process that is.
 *
 * Invariants:
 * - N1 One server per folder: one that a killed head left behind is stopped before another is started.
 * - N2 It comes back on the same port with the same token and data, so that nobody has to be told.
 * - N3 After `stop` nothing is started any more, and no server is left.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { type NatsServer, startNatsServer } from '../../transport/nats/local-server.ts';
import { makePrivateFolder } from './address-file.ts';
import { greetingOf } from './nats-greeting.ts';
import { signalTo } from './signal-process.ts';

export interface LocalNatsOptions {
  readonly program: string;
  /** The server's data, and the note. */
  readonly folder: string;
  readonly logFile: string;
  readonly host: string;
  /** Chooses one when no earlier server has it any more. */
  readonly port: () => Promise<number>;
  readonly token: string;
  readonly detached: boolean;
  readonly logger: Logger;
  /** Told when another server has taken the place of one that died. */
  readonly onReplaced?: () => void;
}

export interface LocalNats {
  readonly port: number;
  /** What it greets with; another one when it was started again. */
  readonly serverId: string;
  /** Idempotent. */
  stop(): Promise<void>;
}

/** Enough to recognise a server that was left behind; nothing secret. */
const note = z.object({
  pid: z.number().int().positive(),
  host: z.string(),
  port: z.number().int(),
  serverId: z.string(),
});

const BACK_OFF_MIN_MS = 100;
const BACK_OFF_MAX_MS = 10_000;
/** A server that ran this long did not die of how it was started. */
const HEALTHY_MS = 30_000;
const LEFTOVER_STOP_MS = 5_000;
const GREETING_MS = 2_000;
const POLL_MS = 25;

/** @throws DlgforgeError `transport` when it cannot be started at all. */
export async function keepNatsServer(options: LocalNatsOptions): Promise<LocalNats> {
  await makePrivateFolder(options.folder);
  await stopLeftNats(options.folder);
  return new NatsKeeper(options, await start(options, await options.port()));
}

interface Greeting extends NatsServer {
  readonly serverId: string;
}

class NatsKeeper implements LocalNats {
  readonly port: number;
  readonly #options: LocalNatsOptions;
  readonly #stopping = new AbortController();
  readonly #kept: Promise<void>;
  #server: Greeting | null;
  #serverId: string;
  #stopped: Promise<void> | null = null;

  constructor(options: LocalNatsOptions, server: Greeting) {
    this.#options = options;
    this.#server = server;
    this.#serverId = server.serverId;
    this.port = server.port;
    this.#kept = this.#keep(server);
  }

  get serverId(): string {
    return this.#serverId;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    await this.#server?.stop();
    await this.#kept;
    await rm(noteFile(this.#options.folder), { force: true });
  }

  async #keep(first: Greeting): Promise<void> {
    let server: Greeting | null = first;
    let backOffMs = BACK_OFF_MIN_MS;
    while (!this.#stopping.signal.aborted) {
      if (server !== null) {
        const startedAtMs = Date.now();
        await server.exited;
        if (Date.now() - startedAtMs > HEALTHY_MS) backOffMs = BACK_OFF_MIN_MS;
        this.#server = null;
      }
      if (this.#stopping.signal.aborted) return;
      this.#warn(`the local NATS server is gone; starting it again in ${backOffMs} ms`);
      if (!(await this.#pause(backOffMs))) return;
      backOffMs = Math.min(BACK_OFF_MAX_MS, backOffMs * 2);
      server = await this.#startAgain();
    }
  }

  async #startAgain(): Promise<Greeting | null> {
    try {
      const server = await start(this.#options, this.port);
      this.#server = server;
      // Asked to stop while it came up: `stop` has not seen this one (N3).
      if (this.#stopping.signal.aborted) await server.stop();
      this.#serverId = server.serverId;
      this.#options.onReplaced?.();
      return server;
    } catch (error) {
      this.#warn(`the local NATS server does not start: ${messageOf(error)}`);
      return null;
    }
  }

  /** False when it was cut short by `stop`. */
  async #pause(ms: number): Promise<boolean> {
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    return !this.#stopping.signal.aborted;
  }

  #warn(text: string): void {
    this.#options.logger.log('warn', 'cluster', `[nats] ${text}`);
  }
}

async function start(options: LocalNatsOptions, port: number): Promise<Greeting> {
  const { program, folder, host, token, logFile, detached } = options;
  const server = await startNatsServer({ program, folder, host, port, token, logFile, detached });
  try {
    const greeting = await greetingOf(reachable(host), server.port, GREETING_MS);
    if (greeting === null)
      throw new DlgforgeError('transport', `The NATS server of ${folder} does not answer; see ${logFile}.`);
    const { serverId } = greeting;
    const content = { pid: server.pid, host, port: server.port, serverId };
    await writeFile(noteFile(folder), JSON.stringify(content), { mode: 0o600 });
    return { ...server, serverId };
  } catch (error) {
    // Without its note the next head could not find it (N1).
    await server.stop();
    throw error;
  }
}

const noteFile = (folder: string): string => join(folder, 'server.json');

/**
 * Stops the server that a killed head left on this folder (N1). It is recognised by the id that it greets
 * with: process numbers are used again. True when there was one.
 * @throws DlgforgeError `transport` when it does not end.
 */
export async function stopLeftNats(folder: string): Promise<boolean> {
  const left = await readNote(folder);
  if (left === null) return false;
  const isOurs = async (): Promise<boolean> =>
    (await greetingOf(reachable(left.host), left.port, 1_000))?.serverId === left.serverId;
  if (!(await isOurs())) return false;
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    signalTo(left.pid, signal);
    const deadlineMs = Date.now() + LEFTOVER_STOP_MS;
    while (Date.now() < deadlineMs && (await isOurs())) await sleep(POLL_MS);
    if (await isOurs()) continue;
    await rm(noteFile(folder), { force: true });
    return true;
  }
  throw new DlgforgeError(
    'transport',
    `A NATS server of an earlier head (process ${left.pid}) has ${folder} and does not stop. End it, then start the head again.`,
  );
}

async function readNote(folder: string): Promise<z.infer<typeof note> | null> {
  try {
    return note.parse(JSON.parse(await readFile(noteFile(folder), 'utf8')));
  } catch {
    // No note, or one that was cut off: whatever has the port or the folder makes the start fail and says so.
    return null;
  }
}

/** Where this machine reaches a server that listens on `host`. */
export function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}
