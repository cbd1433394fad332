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
 * second. A Node process would hold 40 MB for that, so a shell waits (about 1 MB). Once it is needed it kills the
 * server's process group, which takes milliseconds, and becomes a Node process that finds the rest (guardian.ts).
 * Where there is no shell, Node waits itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Writable } from 'node:stream';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';

const SHELL = '/bin/sh';
/** Reads the group's number, and the end. Without a record the server has been ended already, and its number is free. */
const WAIT_THEN_BECOME =
  'read -r group; read -r end; [ -e "$3" ] || exit 0; [ -z "$group" ] || kill -s KILL -- "-$group"; exec "$@"';
const GUARDIAN = fileURLToPath(
  new URL(`guardian.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
);

export interface Guardians {
  /** Of the server, whose program leads it. */
  guard(group: number): void;
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
    // A guardian that was killed breaks it; its end is seen by `lost`.
    guardian.stdin?.on('error', () => undefined);
    guardian.unref();
    (guardian.stdin as unknown as { unref(): void }).unref();
  }
  return {
    guard(group) {
      for (const guardian of both) guardian.stdin?.write(`${group}\n`);
    },
    async end() {
      isEnding = true;
      for (const guardian of both) {
        // Waited for now, also when this is the last thing that the process does.
        guardian.ref();
        guardian.kill('SIGKILL');
      }
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
