/** Who holds something, and whether that process is still there; ids of processes are used again. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import type { HolderInfo } from '../ports/store.ts';

/** This process. `command` is shown to people who meet its hold. */
export function processIdentity(command: string): HolderInfo {
  const started = startOf(process.pid);
  return {
    host: hostName(),
    pid: process.pid,
    processKey:
      started === null
        ? `started ${Math.round(Date.now() - process.uptime() * 1_000)}`
        : keyOf(started.ticks),
    command,
    sinceMs: Date.now(),
  };
}

/** Whether a holder on this host still runs. Where /proc is missing, only its number can be looked at. */
export function isProcessAlive(holder: HolderInfo): boolean {
  if (process.platform !== 'linux') return answersSignals(holder.pid);
  const started = startOf(holder.pid);
  return started !== null && !started.dead && keyOf(started.ticks) === holder.processKey;
}

/** Whether any process has this number here; one that has ended and is only not waited for yet does not count. */
export function isPidAlive(pid: number): boolean {
  return process.platform === 'linux' ? startOf(pid)?.dead === false : answersSignals(pid);
}

/** The initial process namespace of every Linux kernel (PROC_PID_INIT_INO). */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]';

/** Containers may share a name; processes of another one cannot be looked at, so it is another host. */
function hostName(): string {
  if (process.platform !== 'linux') return hostname();
  const namespace = readlinkSync('/proc/self/ns/pid');
  return namespace === INITIAL_PID_NAMESPACE ? hostname() : `${hostname()} ${namespace}`;
}

/** Start times count from the boot, so they are unique with its id. */
function keyOf(startTicks: string): string {
  return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}:${startTicks}`;
}

/** Fields 3 and 22 of proc_pid_stat(5); null when there is no such process, or no /proc. */
function startOf(pid: number): { readonly ticks: string; readonly dead: boolean } | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ESRCH') return null;
    throw error;
  }
  // The program's name stands in brackets and may hold spaces and brackets itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { ticks: fields[19] ?? '', dead: fields[0] === 'Z' || fields[0] === 'X' };
}

function answersSignals(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, and another user's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
