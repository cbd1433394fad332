/** Starts a node that goes on when this process, or its terminal, is gone. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError, type ErrorCode, isDlgforgeError } from '../../kernel/errors.ts';
import { childModule, withCompileCache } from './child-module.ts';
import { keepNewest } from './keep-newest.ts';

export interface DaemonOptions {
  /** Arguments of `dlgforge cluster start`; secrets are not among them. */
  readonly args: readonly string[];
  readonly environment: Environment;
  readonly folder: string;
  /** What it prints goes to a file here. */
  readonly logsDir: string;
  readonly timeoutMs?: number;
  /** Ends a node that is not ready yet. */
  readonly signal?: AbortSignal | undefined;
}

/** What a node that is ready says to whoever started it. */
export interface ReadyMessage {
  readonly type: 'ready';
  readonly node: string;
  readonly joinLines: readonly string[];
  readonly opened: readonly string[];
  readonly metricsPort: number | null;
}

export type DaemonMessage =
  | ReadyMessage
  | { readonly type: 'status'; readonly text: string | null }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string };

const TIMEOUT_MS = 120_000;
/** It undoes what it has started by then. */
const UNDO_MS = 15_000;
const LAST_LINES = 20;
const OUTPUT = 'node-output-';

/**
 * @throws DlgforgeError the node's own, `transport` with the last lines that it printed, or `cancelled`; then
 * the node has ended.
 */
export async function startDaemon(
  options: DaemonOptions,
  onStatus: (text: string | null) => void,
): Promise<ReadyMessage & { readonly pid: number }> {
  const { timeoutMs = TIMEOUT_MS, logsDir, signal } = options;
  if (signal?.aborted === true) throw cancelled(signal);
  mkdirSync(logsDir, { recursive: true, mode: 0o700 });
  await keepNewest({ folder: logsDir, isOne: (name) => name.startsWith(OUTPUT) });
  const output = join(logsDir, `${OUTPUT}${process.pid}-${Date.now()}.log`);
  const child = launch(options, output);
  const over = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const { promise, resolve, reject } = Promise.withResolvers<ReadyMessage>();
  const fail = async (why: string): Promise<void> => {
    const lines = (await readFile(output, 'utf8').catch(() => '')).trim().split('\n').slice(-LAST_LINES);
    reject(
      new DlgforgeError('transport', [`The node could not be started: ${why}`, ...lines].join('\n').trim()),
    );
  };
  const timer = setTimeout(
    () => void fail(`it was not ready within ${timeoutMs / 1000} s (${output})`),
    timeoutMs,
  );
  const onAbort = (): void => reject(cancelled(signal));
  signal?.addEventListener('abort', onAbort, { once: true });
  child.on('message', (message: DaemonMessage) => {
    if (message.type === 'ready') resolve(message);
    else if (message.type === 'status') onStatus(message.text);
    else reject(new DlgforgeError(message.code, message.message));
  });
  child.on('error', (error) => void fail(error.message));
  child.on('exit', (code, ended) => void fail(`it ended with ${ended ?? `exit code ${code}`}`));
  try {
    const ready = await promise;
    return { ...ready, pid: child.pid ?? 0 };
  } catch (error) {
    await end(child, over);
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    child.removeAllListeners();
    if (child.connected) child.disconnect();
    child.unref();
  }
}

const cancelled = (signal: AbortSignal | undefined): DlgforgeError =>
  isDlgforgeError(signal?.reason)
    ? signal.reason
    : new DlgforgeError('cancelled', 'Stopped before the node was ready; nothing of it is left.');

function launch({ args, environment, folder }: DaemonOptions, output: string): ChildProcess {
  const file = openSync(output, 'a', 0o600);
  try {
    return spawn(
      process.execPath,
      [childModule('../../cli/main', import.meta.url), 'cluster', 'start', ...args, '--block'],
      {
        cwd: folder,
        env: withCompileCache(environment),
        detached: true,
        stdio: ['ignore', file, file, 'ipc'],
      },
    );
  } finally {
    closeSync(file);
  }
}

/** No node that nobody knows of is left. */
async function end(child: ChildProcess, over: Promise<void>): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), UNDO_MS);
  await over;
  clearTimeout(killer);
}
