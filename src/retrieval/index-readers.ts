/**
 * Marks of the processes that have a table open, so that a writer keeps the tables in use. A mark
 * is a small file `readers/<table>.<token>` that names the process.
 */
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freshHexId } from '../kernel/ids.ts';
import { isAlive, ownMark, parseMark } from './process-mark.ts';

const READERS = 'readers';
/** A mark of another machine's process cannot be checked; it is believed for this long. */
const FOREIGN_STALE_MS = 7 * 24 * 60 * 60_000;

/**
 * Returns the function that takes the mark away. Where this process may not write it leaves no mark: the
 * folder is somebody else's, who sees to it that the index stays.
 */
export async function markReader(persistDir: string, table: string): Promise<() => Promise<void>> {
  const folder = join(persistDir, READERS);
  const path = join(folder, `${table}.${freshHexId()}`);
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(path, JSON.stringify(ownMark()));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM') return async () => undefined;
    throw error;
  }
  return () => rm(path, { force: true });
}

async function isInUse(path: string): Promise<boolean> {
  try {
    const mark = parseMark(await readFile(path, 'utf8'));
    const alive = mark === null ? false : isAlive(mark);
    return alive === 'unknown' ? Date.now() - (await stat(path)).mtimeMs < FOREIGN_STALE_MS : alive;
  } catch (error) {
    // The reader has just closed and taken its mark away.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** Tables that a living process has open; marks of dead ones are removed. */
export async function tablesInUse(persistDir: string): Promise<ReadonlySet<string>> {
  const folder = join(persistDir, READERS);
  await mkdir(folder, { recursive: true });
  const inUse = new Set<string>();
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (await isInUse(path)) inUse.add(name.slice(0, name.lastIndexOf('.')));
    else await rm(path, { force: true });
  }
  return inUse;
}
