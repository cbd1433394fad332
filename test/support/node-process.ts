/** `dlgforge cluster start --block` and other commands as processes of a test: said, waited for, and always gone. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { LAUNCHER } from './cli-project.ts';

export interface NodeProcess {
  readonly child: ChildProcess;
  readonly pid: number;
  /** What it has said so far, stdout and stderr in one. */
  said(): string;
  /** Resolves when it has said `pattern`; rejects when it ends before, or the time is over. */
  says(pattern: RegExp, timeoutMs?: number): Promise<void>;
  readonly ended: Promise<number | null>;
  signal(name: NodeJS.Signals): void;
  /** Asks it to end, and kills it when it does not; frozen ones too. */
  stop(): Promise<void>;
}

export interface CommandOptions {
  readonly folder: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Puts the command into a network of its own, or into anything else. */
  readonly inside?: (command: readonly string[]) => readonly [string, ...string[]];
}

const STOP_MS = 15_000;

/** The real command line; only what is given is in its environment. */
export function startCommand(args: readonly string[], options: CommandOptions): NodeProcess {
  const { folder, env = {}, inside } = options;
  const command = [process.execPath, LAUNCHER, ...args] as const;
  const [program, ...rest] = inside?.(command) ?? command;
  const kept = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'XDG_RUNTIME_DIR'];
  const inherited = Object.fromEntries(kept.map((name) => [name, process.env[name]]));
  const child = spawn(program, rest, {
    cwd: folder,
    env: { ...inherited, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  const add = (chunk: Buffer): void => {
    said += chunk.toString();
  };
  child.stdout.on('data', add);
  child.stderr.on('data', add);
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  return {
    child,
    pid: child.pid ?? 0,
    said: () => said,
    async says(pattern, timeoutMs = 30_000) {
      const deadlineMs = Date.now() + timeoutMs;
      while (!pattern.test(said)) {
        if (isOver() || Date.now() > deadlineMs)
          throw new Error(`${args.join(' ')} did not say ${String(pattern)}:\n${said}`);
        await sleep(20);
      }
    },
    ended,
    signal: (name) => void child.kill(name),
    async stop() {
      if (!isOver()) {
        child.kill('SIGCONT');
        child.kill('SIGTERM');
      }
      const killer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(killer);
    },
  };
}

export async function runCommand(
  args: readonly string[],
  options: CommandOptions,
): Promise<{
  readonly code: number | null;
  readonly said: string;
}> {
  const command = startCommand(args, options);
  const code = await command.ended;
  return { code, said: command.said() };
}
