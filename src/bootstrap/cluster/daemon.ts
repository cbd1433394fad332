/** Starts a node that goes on when this process, or its terminal, is gone. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Environment } from '../../config/environment.ts';
import { childModule, withCompileCache } from './child-module.ts';

export interface DaemonOptions {
  /** Arguments of `dlgforge cluster start`; secrets are not among them. */
  readonly args: readonly string[];
  readonly environment: Environment;
  readonly folder: string;
  /** What it prints goes to a file here. */
  readonly logsDir: string;
  readonly timeoutMs?: number;
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
  | { readonly type: 'failed'; readonly message: string };

const TIMEOUT_MS = 120_000;
const LAST_LINES = 20;

/** @throws DlgforgeError `transport` with the last lines that it printed. */
export async function startDaemon(
  { args, environment, folder, logsDir, timeoutMs = TIMEOUT_MS }: DaemonOptions,
  onStatus: (text: string | null) => void,
): Promise<ReadyMessage & { readonly pid: number }> {
  mkdirSync(logsDir, { recursive: true, mode: 0o700 });
  const output = join(logsDir, `node-output-${process.pid}-${Date.now()}.log`);
  const file = openSync(output, 'a', 0o600);
  const child = spawn(
    process.execPath,
    [childModule('../../cli/main', import.meta.url), 'cluster', 'start', ...args, '--block'],
    { cwd: folder, env: withCompileCache(environment), detached: true, stdio: ['ignore', file, file, 'ipc'] },
  );
  closeSync(file);
  const { promise, resolve, reject } = Promise.withResolvers<ReadyMessage>();
  const fail = async (why: string): Promise<void> => {
    const lines = (await readFile(output, 'utf8').catch(() => '')).trim().split('\n').slice(-LAST_LINES);
    reject(
      new DlgforgeError('transport', [`The node could not be started: ${why}`, ...lines].join('\n').trim()),
    );
  };
  const timer = setTimeout(() => {
    child.kill('SIGTERM');
    void fail(`it was not ready within ${timeoutMs / 1000} s (${output})`);
  }, timeoutMs);
  child.on('message', (message: DaemonMessage) => {
    if (message.type === 'ready') resolve(message);
    else if (message.type === 'status') onStatus(message.text);
    else reject(new DlgforgeError('transport', message.message));
  });
  child.on('error', (error) => void fail(error.message));
  child.on('exit', (code, signal) => void fail(`it ended with ${signal ?? `exit code ${code}`}`));
  try {
    const ready = await promise;
    return { ...ready, pid: child.pid ?? 0 };
  } finally {
    clearTimeout(timer);
    child.removeAllListeners();
    if (child.connected) child.disconnect();
    child.unref();
  }
}
