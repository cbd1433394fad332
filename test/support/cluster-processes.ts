/** Looks at real processes from outside: children, signals, and what a test has left behind. Linux only. */
import { readdirSync, readFileSync } from 'node:fs';

const textOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended while we looked, or belongs to somebody else.
    return '';
  }
};

/** Direct children that run now. */
export const childrenOf = (pid: number): number[] =>
  textOf(`/proc/${pid}/task/${pid}/children`)
    .trim()
    .split(' ')
    .filter((text) => text !== '')
    .map(Number);

/** Children and theirs. */
export const descendantsOf = (pid: number): number[] =>
  childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);

/** True when it was there. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  // 0 and below mean whole groups of processes.
  if (pid < 2) throw new Error(`${pid} is no process to be sent ${name}`);
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

/** It runs, or is frozen; a zombie that nobody has waited for does not. */
export function isRunning(pid: number): boolean {
  const state = textOf(`/proc/${pid}/stat`).replace(/^.*\) /s, '')[0];
  return state !== undefined && state !== 'Z' && state !== 'X';
}

/** Processes of ours that were told of `folder`, by environment or arguments. */
export function processesOf(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter(
      (pid) =>
        textOf(`/proc/${pid}/environ`).includes(folder) || textOf(`/proc/${pid}/cmdline`).includes(folder),
    )
    .filter(isRunning);
}

/** SIGKILL for whatever a test has left behind, frozen or not; by process, and only what knows its folder. */
export function killProcessesOf(folder: string): void {
  // A parent may start another child until it is gone itself.
  for (let round = 0; round < 5; round += 1) {
    const left = processesOf(folder);
    if (left.length === 0) return;
    for (const pid of left) signal(pid, 'SIGKILL');
  }
}
