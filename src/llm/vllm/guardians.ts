/**
 * Two guardians for each server that is not to be kept, so that no two deaths leave it without anybody who ends it:
 *
 *   starter dies                    the first one ends the server
 *   starter and first die           the second one does
 *   a guardian dies, or both        the starter does (`onLost`)
 *   server or engine dies, too      whoever of these is left does
 *
 * They are no parents of the server and have nothing to do until the end of their standard input, which comes when
 * the last process that holds its other end has gone: the starter for the first, the starter and the first for the
 * second. A Node process would hold 40 MB for that, so a shell waits (about 1 MB) and becomes a Node process when
 * it is needed. Where there is no shell, Node waits itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Writable } from 'node:stream';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';

const SHELL = '/bin/sh';
const WAIT_THEN_BECOME = 'read -r line; exec "$@"';
const GUARDIAN = fileURLToPath(
  new URL(`guardian.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
);

export interface Guardians {
  readonly pids: readonly number[];
  /** To be called when the server has ended; resolves when they are gone. */
  end(): Promise<void>;
}

/** Resolves when both are there. `onLost` is called once when one of them ends before `end`. */
export async function startGuardians(recordPath: string, onLost: () => void): Promise<Guardians> {
  const second = startGuardian(recordPath, null);
  const first = startGuardian(recordPath, second.stdin);
  let isEnding = false;
  const lost = (): void => {
    if (isEnding) return;
    isEnding = true;
    onLost();
  };
  const both = [first, second];
  const gone = both.map((guardian) => new Promise<void>((resolve) => guardian.once('exit', () => resolve())));
  try {
    await Promise.all(both.map((guardian) => once(guardian, 'spawn')));
  } catch (error) {
    for (const guardian of both) guardian.kill('SIGKILL');
    throw new DlgforgeError(
      'endpoint',
      `A vLLM server cannot be guarded: no process can be started (${messageOf(error)}). Free memory or processes.`,
      { cause: error },
    );
  }
  for (const guardian of both) {
    guardian.once('exit', lost);
    // It is read by nobody before its end; a guardian that was killed breaks it.
    guardian.stdin?.on('error', () => undefined);
    guardian.unref();
    (guardian.stdin as unknown as { unref(): void }).unref();
  }
  return {
    pids: both.map(({ pid }) => pid ?? 0),
    async end() {
      isEnding = true;
      for (const guardian of both) guardian.kill('SIGKILL');
      await Promise.all(gone);
    },
  };
}

/** In a session of its own, so that Ctrl-C at the terminal is for the starter alone. */
function startGuardian(recordPath: string, held: Writable | null): ChildProcess {
  const command = [process.execPath, GUARDIAN, recordPath];
  const [program = '', ...args] = existsSync(SHELL)
    ? [SHELL, '-c', WAIT_THEN_BECOME, 'dlgforge-guardian', ...command]
    : command;
  return spawn(program, args, {
    cwd: '/',
    // Neither keys nor marks: it must not take itself for a part of the server.
    env: {},
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore', ...(held === null ? [] : [held])],
  });
}
