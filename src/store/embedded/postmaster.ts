/** What runs on a data folder, as its postmaster.pid and the system tell. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync, realpathSync, renameSync, rmSync, linkSync } from 'node:fs';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';

export interface Postmaster {
  readonly pid: number;
  /** '' until the server has got so far. */
  readonly socketDir: string;
  readonly port: number;
  /** `starting`, `ready`, `stopping`, or '' very early. */
  readonly status: string;
  /** The file as it stood. */
  readonly text: string;
}

/** Null when no server has the folder, or the file is not written yet. */
export function readPostmaster(dataDir: string): Postmaster | null {
  const text = readIfThere(pidFile(dataDir));
  const lines = text?.split('\n') ?? [];
  const pid = Math.abs(Number.parseInt(lines[0] ?? '', 10));
  if (text === null || !(pid > 0)) return null;
  return {
    pid,
    port: Number.parseInt(lines[3] ?? '', 10) || 5432,
    socketDir: lines[4] ?? '',
    status: (lines[7] ?? '').trim(),
    text,
  };
}

/** Whether this process id is a server on this folder; numbers are used again after a crash or a reboot. */
export function isServerOf(dataDir: string, pid: number): boolean {
  if (process.platform !== 'linux') return commandOfProcess(pid).includes('postgres');
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(dataDir);
  } catch (error) {
    // Another user's process: its command line can still be read.
    if (codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM')
      return commandOfProcess(pid).includes(` -D ${dataDir} `);
    return false;
  }
}

/**
 * Where this process reaches the server's socket; null when it has none (yet). In a mount namespace of its
 * own (systemd's PrivateTmp) the server's temporary folder is reached through its process.
 */
export function reachableSocketDir(postmaster: Postmaster): string | null {
  if (postmaster.socketDir === '') return null;
  const candidates = [postmaster.socketDir, `/proc/${postmaster.pid}/root${postmaster.socketDir}`];
  return candidates.find((folder) => existsSync(join(folder, `.s.PGSQL.${postmaster.port}`))) ?? null;
}

/**
 * Takes away the pid file of a dead server whose number now belongs to another program; Postgres itself
 * would refuse to start. When another process has just started a server, its file is put back.
 */
export function removeStalePidFile(dataDir: string, stale: Postmaster): void {
  const aside = join(dataDir, `postmaster.pid.stale-${randomUUID()}`);
  try {
    renameSync(pidFile(dataDir), aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  if (readIfThere(aside) !== stale.text) linkSync(aside, pidFile(dataDir));
  rmSync(aside);
}

export function signalServer(dataDir: string, pid: number, signal: 'SIGINT' | 'SIGQUIT'): void {
  if (!isServerOf(dataDir, pid)) return;
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

const pidFile = (dataDir: string): string => join(dataDir, 'postmaster.pid');

function commandOfProcess(pid: number): string {
  if (process.platform === 'linux') return (readIfThere(`/proc/${pid}/cmdline`) ?? '').replaceAll('\0', ' ');
  return spawnSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout;
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return null;
    throw error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
