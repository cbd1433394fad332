/**
 * All processes of one server, and their end. A process belongs to it when it
 *
 * - carries the server's mark in its environment: also when its parent has died and another one has taken it,
 * - is in the session that the server's program leads: also when it has written over its environment,
 * - or descends from one of these.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { allProcesses, carriesMark, isOlder, type ProcessEntry } from './process-table.ts';

export interface ServerTree {
  readonly mark: string;
  /** Of its program; null when it is not known, which leaves the mark. */
  readonly program: { readonly pid: number; readonly startKey: string } | null;
}

const PAUSE_MS = 20;
/** A process that is in the middle of an uninterruptible call goes when that ends; drivers take seconds. */
const DEADLINE_MS = 10_000;

export function processesOf(tree: ServerTree): readonly number[] {
  const all = allProcesses().filter(({ pid }) => pid !== process.pid && pid > 1);
  const found = new Set(all.filter((entry) => isMember(entry, tree, all)).map(({ pid }) => pid));
  for (let before = -1; before < found.size; ) {
    before = found.size;
    for (const { pid, parentPid } of all) if (found.has(parentPid)) found.add(pid);
  }
  return [...found];
}

/** SIGKILL to all, until none is left. Gives those that are still there at the deadline. */
export async function killTree(tree: ServerTree, deadlineMs = DEADLINE_MS): Promise<readonly number[]> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    // Looked at anew each time: one of them may have started another one before it was reached.
    const left = processesOf(tree);
    for (const pid of left) tryToKill(pid);
    if (left.length === 0 || performance.now() > endMs) return left;
    await sleep(PAUSE_MS);
  }
}

/** False when there is no such process any more. @throws when it may not be signalled. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

function tryToKill(pid: number): void {
  try {
    sendSignal(pid, 'SIGKILL');
  } catch {
    // It runs as another user by now: it stays in the list of those that are left, which the caller reports.
  }
}

function isMember(entry: ProcessEntry, { mark, program }: ServerTree, all: readonly ProcessEntry[]): boolean {
  return (program !== null && isInSession(entry, program, all)) || carriesMark(entry.pid, mark);
}

/**
 * The number of a session is not given again while any process is in it; when it was given again after all of
 * them had gone, its leader, or who is in it, shows another time.
 */
function isInSession(
  entry: ProcessEntry,
  program: { readonly pid: number; readonly startKey: string },
  all: readonly ProcessEntry[],
): boolean {
  if (entry.session !== program.pid || isOlder(entry, program.startKey)) return false;
  const leader = all.find(({ pid }) => pid === program.pid);
  return leader === undefined || leader.startKey === program.startKey;
}
