/**
 * Owns the folder of the embedded database: made whole or not at all, repaired in what can be repaired
 * without looking into it, and the private folder of its socket.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { sha256 } from '../../kernel/hash.ts';
import type { ServerBinaries } from './binaries.ts';
import { firstWorkingWay, type Owner, runProgram, type Way, waysToMake } from './launch.ts';
import { serverFault } from './server-fault.ts';

export const SERVER_USER = 'dlgforge';

/** Longest path of a socket folder: systems allow 103 to 107 bytes with `/.s.PGSQL.5432`. */
const SOCKET_DIR_BYTES_MAX = 88;

/** The folder's owner decides how it is opened; null while there is no database. */
export function ownerOf(dataDir: string): Owner | null {
  const version = statOrNull(join(dataDir, 'PG_VERSION'));
  if (version !== null) return checkedOwner(dataDir, version);
  const folder = statOrNull(dataDir);
  if (folder === null || readdirSync(dataDir).length === 0) return null;
  throw new DlgforgeError(
    'store',
    `${dataDir} is not a database: it has files but no PG_VERSION. Move the folder away and run again.`,
  );
}

/** Makes the database in a folder beside, then renames: a kill leaves nothing half made. */
export async function createDataFolder(dataDir: string, binaries: ServerBinaries): Promise<void> {
  const parent = dirname(dataDir);
  mkdirSync(parent, { recursive: true });
  sweepUnfinished(dataDir);
  const way = firstWorkingWay(waysToMake(statSync(parent)), binaries.postgres, parent);
  const temporary = `${dataDir}.new-${process.pid}-${Math.random().toString(36).slice(2, 8)}`;
  try {
    mkdirSync(temporary, { mode: 0o700 });
    if (way.type === 'as_user') chownSync(temporary, way.uid, way.gid);
    await initialise(way, binaries, temporary);
    publish(temporary, dataDir);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
    // The initdb of a process that was killed at the start of this may have gone on writing until now.
    sweepUnfinished(dataDir);
  }
}

/** Makes the files those of the user that the server will run as, and private. */
export function takeOver(dataDir: string, way: Way): void {
  if (way.type === 'as_user' && statSync(dataDir).uid !== way.uid) chownTree(dataDir, way.uid, way.gid);
  chmodSync(dataDir, 0o700);
}

/** A private folder for the socket; `runtimeDir` is tried first. */
export function makeSocketDir(dataDir: string, way: Way, runtimeDir: string | undefined): string {
  const bases = way.type === 'as_user' ? ['/tmp'] : [runtimeDir, tmpdir(), '/tmp'];
  const name = `dlgforge-${sha256(dataDir).slice(0, 16)}`;
  const fitting = bases.filter(
    (base): base is string =>
      base !== undefined &&
      Buffer.byteLength(join(base, name)) + 7 <= SOCKET_DIR_BYTES_MAX &&
      (statOrNull(base)?.isDirectory() ?? false),
  );
  for (const base of fitting) {
    const folder = privateFolder(join(base, name), way);
    if (folder !== null) return folder;
  }
  throw new DlgforgeError(
    'store',
    `There is no folder for the socket of the embedded database; tried ${fitting.join(', ')}. ` +
      'Make the temporary folder writable, or set store.postgres.dsn.',
  );
}

/** Takes an empty socket folder away; one that is in use again stays. */
export function removeSocketDir(socketDir: string): void {
  try {
    rmdirSync(socketDir);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    // A folder that is left behind does no harm: the next start uses it.
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY' && code !== 'EACCES' && code !== 'EPERM') throw error;
  }
}

async function initialise(way: Way, binaries: ServerBinaries, folder: string): Promise<void> {
  const { code, output } = await runProgram(way, binaries.initdb, [
    `--pgdata=${folder}`,
    `--username=${SERVER_USER}`,
    // Who can reach the socket may use the server: its folder is the user's own.
    '--auth=trust',
    '--encoding=UTF8',
    '--locale=C',
    '--wal-segsize=4',
    '--no-instructions',
  ]);
  if (code !== 0) throw serverFault(output, folder, binaries.packageName);
}

function publish(temporary: string, dataDir: string): void {
  try {
    renameSync(temporary, dataDir);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    // Another process was first; its database is as good.
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return;
    throw error;
  }
  const parent = openSync(dirname(dataDir), 'r');
  fsyncSync(parent);
  closeSync(parent);
}

/** Removes what killed processes left of their initdb. */
function sweepUnfinished(dataDir: string): void {
  const prefix = `${basename(dataDir)}.new-`;
  for (const name of readdirSync(dirname(dataDir))) {
    const pid = name.startsWith(prefix) ? Number.parseInt(name.slice(prefix.length), 10) : Number.NaN;
    if (pid > 0 && !isRunning(pid)) removeUnlessWritten(join(dirname(dataDir), name));
  }
}

/** An initdb outlives whoever started it by a moment; what it writes meanwhile is swept the next time. */
function removeUnlessWritten(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOTEMPTY') throw error;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH');
  }
}

function checkedOwner(dataDir: string, stats: Stats): Owner {
  const me = process.getuid?.() ?? 0;
  if (me !== 0 && stats.uid !== me) {
    throw new DlgforgeError(
      'store',
      `The database in ${dataDir} belongs to user ${stats.uid}, and this is user ${me}. ` +
        'Run dlgforge as that user, give the folder to yourself with chown -R, or set store.postgres.dsn.',
    );
  }
  return { uid: stats.uid, gid: stats.gid };
}

function privateFolder(path: string, way: Way): string | null {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    if (error.code === 'EACCES' || error.code === 'EROFS' || error.code === 'EPERM') return null;
    if (error.code !== 'EEXIST') throw socketDirFault(path, error);
  }
  // Somebody else may have made a folder of this name in a shared place: never use it.
  const owner = process.getuid?.() ?? 0;
  const expected = way.type === 'as_user' ? [owner, way.uid] : [owner];
  const stats = lstatSync(path);
  const mine = stats.isDirectory() && expected.includes(stats.uid);
  const folder = mine ? path : mkdtempSync(`${path}-`);
  chmodSync(folder, 0o700);
  if (way.type === 'as_user') chownSync(folder, way.uid, way.gid);
  return folder;
}

function socketDirFault(path: string, cause: Error): DlgforgeError {
  return new DlgforgeError(
    'store',
    `The folder ${path} cannot be made: ${messageOf(cause)}. Free the disk or fix it.`,
    {
      cause,
    },
  );
}

function chownTree(path: string, uid: number, gid: number): void {
  lchownSync(path, uid, gid);
  if (!lstatSync(path).isDirectory()) return;
  for (const name of readdirSync(path)) chownTree(join(path, name), uid, gid);
}

function statOrNull(path: string): Stats | null {
  return statSync(path, { throwIfNoEntry: false }) ?? null;
}
