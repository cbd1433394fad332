/**
 * The processes of this machine. On Linux from /proc; elsewhere (macOS) from `ps`, without environments, so
 * marks cannot be read there and a tree is told by its process group and its parents alone.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

export interface ProcessEntry {
  readonly pid: number;
  readonly parentPid: number;
  /** Of the leader of its session (Linux) or group (elsewhere). */
  readonly session: number;
  /** Unique with the pid: numbers are used again. Of one boot they sort by time where they are numbers. */
  readonly startKey: string;
}

/** Variable in the environment of every process of a server. */
export const MARK_VARIABLE = 'DLGFORGE_SERVER_MARK';

const isLinux = process.platform === 'linux';

/** Null when there is none, also when it has ended and is only not waited for yet. */
export function processEntry(pid: number): ProcessEntry | null {
  return isLinux ? linuxEntry(pid) : (psEntries(['-p', String(pid)])[0] ?? null);
}

/** All that live. */
export function allProcesses(): readonly ProcessEntry[] {
  if (!isLinux) return psEntries(['-ax']);
  return linuxPids().flatMap((pid) => linuxEntry(pid) ?? []);
}

export function isSameProcess(pid: number, startKey: string): boolean {
  return processEntry(pid)?.startKey === startKey;
}

/** Whether the process was started with this mark, or by one that was; false where nobody can tell. */
export function carriesMark(pid: number, mark: string): boolean {
  const environment = isLinux ? readProc(pid, 'environ') : null;
  return environment?.split('\0').includes(`${MARK_VARIABLE}=${mark}`) ?? false;
}

/** Its title or command line, the parts joined by spaces; empty where it cannot be read. */
export function commandOf(pid: number): string {
  return (isLinux ? readProc(pid, 'cmdline') : null)?.replaceAll('\0', ' ').trim() ?? '';
}

/** The file that it runs; null where it cannot be read. */
export function programOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    // It has ended, is another user's, or there is no /proc.
    return null;
  }
}

/** This machine, as far as process numbers mean the same: containers may share a name, not their processes. */
export function thisHost(): string {
  if (!isLinux) return hostname();
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${hostname()} ${boot} ${readlinkSync('/proc/self/ns/pid')}`;
}

/** Whether `entry` was started before the process whose key is `startKey`; false where keys do not sort. */
export function isOlder(entry: ProcessEntry, startKey: string): boolean {
  return Number(entry.startKey) < Number(startKey);
}

const CLOCK_TICKS_PER_S = 100;

/** Seconds since its start; 0 where it cannot be told. USER_HZ is 100 on all Linux platforms that Node has. */
export function ageS(entry: ProcessEntry): number {
  if (!isLinux) return 0;
  const uptimeS = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  return Math.max(0, uptimeS - Number(entry.startKey) / CLOCK_TICKS_PER_S);
}

function linuxPids(): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Fields 3, 4, 6 and 22 of proc_pid_stat(5). */
function linuxEntry(pid: number): ProcessEntry | null {
  const stat = readProc(pid, 'stat');
  if (stat === null) return null;
  // The program's name stands in brackets and may hold spaces and brackets itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return null;
  return { pid, parentPid: Number(fields[1]), session: Number(fields[3]), startKey: fields[19] ?? '' };
}

function readProc(pid: number, name: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    // It has ended meanwhile, or is another user's: then it is none of ours.
    return null;
  }
}

function psEntries(selection: readonly string[]): readonly ProcessEntry[] {
  const listed = spawnSync('ps', [...selection, '-o', 'pid=,ppid=,pgid=,stat=,lstart='], {
    encoding: 'utf8',
  });
  return (listed.stdout ?? '').split('\n').flatMap((line) => {
    const [pid, parentPid, group, state, ...started] = line.trim().split(/\s+/);
    if (started.length === 0 || state?.startsWith('Z') === true) return [];
    return [
      { pid: Number(pid), parentPid: Number(parentPid), session: Number(group), startKey: started.join(' ') },
    ];
  });
}
