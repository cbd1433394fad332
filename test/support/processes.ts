/** Real processes in tests: started, listened to line by line, killed, and always gone at the end. */
import { type ChildProcessWithoutNullStreams, type SpawnOptions, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

export interface TestProcess {
  readonly child: ChildProcessWithoutNullStreams;
  readonly lines: readonly string[];
  /** Resolves with the first line that matches; rejects when the process ends or the time is over. */
  line(pattern: RegExp, timeoutMs?: number): Promise<string>;
  write(text: string): void;
  /** Ends its input and waits for its end. */
  finish(): Promise<number | null>;
  /** SIGKILL, and waits for its end. */
  kill(): Promise<void>;
}

export function startProcess(
  script: string,
  args: readonly string[],
  options: SpawnOptions = {},
): TestProcess {
  const path = join(import.meta.dirname, script);
  const child = spawn(process.execPath, [path, ...args], { ...options, stdio: 'pipe' });
  const lines: string[] = [];
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', resolve);
  });
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  return {
    child,
    lines,
    async line(pattern, timeoutMs = 30_000) {
      const found = await waitFor(
        () => lines.find((line) => pattern.test(line)) ?? (isOver() ? null : undefined),
        timeoutMs,
        () => `no line ${pattern} in ${JSON.stringify(lines)}; ${errors}`,
      );
      if (found === null) throw new Error(`ended without a line ${pattern}: ${errors}`);
      return found;
    },
    write: (text) => child.stdin.write(text),
    async finish() {
      child.stdin.end();
      return await ended;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Waits for a state with a deadline. */
export async function waitFor<T>(
  look: () => T | undefined,
  timeoutMs: number,
  why: () => string,
): Promise<T> {
  const deadlineMs = Date.now() + timeoutMs;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    if (Date.now() > deadlineMs) throw new Error(`waited ${timeoutMs} ms: ${why()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
