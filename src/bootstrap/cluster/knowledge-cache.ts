/**
 * Indexes that this machine has fetched from other nodes, one folder each, named by fingerprint.
 *
 * 1. A folder with a fingerprint for its name is complete and checked: it got that name by a rename.
 * 2. One process of the machine fetches at a time; the others wait and find the result.
 * 3. Bounded (I9): the ones that were not used for longest go when there are more than `INDEXES_MAX`, unless
 *    a process has them open or has just asked for them.
 */
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../kernel/clock.ts';
import { freshHexId } from '../../kernel/ids.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import { unpackIndex } from '../../retrieval/index-archive.ts';
import { checkIndex } from '../../retrieval/index-check.ts';
import { lockIndex } from '../../retrieval/index-lock.ts';
import { tablesInUse } from '../../retrieval/index-readers.ts';

export interface FetchOptions {
  readonly blobs: BlobStore;
  /** Of the blob. */
  readonly name: string;
  readonly fingerprint: string;
  readonly cacheDir: string;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
  /** Indexes kept; for tests. */
  readonly indexesMax?: number;
  /** Bytes of one index, unpacked; for tests. */
  readonly bytesMax?: number;
}

const INDEXES_MAX = 8;
const BYTES_MAX = 256 * 1024 ** 3;
/** Asked for this short ago, an index may be about to be opened. */
const JUST_USED_MS = 600_000;
const FINGERPRINT = /^[0-9a-f]{64}$/;

/**
 * The folder of the index, fetched if need be; null when nobody has published it.
 * @throws DlgforgeError `retrieval` for one that is damaged, `transport` when it cannot be fetched.
 */
export async function fetchIndex(options: FetchOptions): Promise<string | null> {
  const { cacheDir, fingerprint, logger, signal } = options;
  const folder = join(cacheDir, fingerprint);
  if (await touched(folder)) return folder;
  await mkdir(cacheDir, { recursive: true });
  const doing = 'fetching a knowledge index';
  const lock = await lockIndex({ persistDir: cacheDir, logger, clock: systemClock, doing, signal });
  try {
    if (await touched(folder)) return folder;
    await clearIncoming(cacheDir);
    if (!(await bring(options, folder))) return null;
    await evict(cacheDir, options.indexesMax ?? INDEXES_MAX);
    return folder;
  } finally {
    await lock.release();
  }
}

/** Whether it is there; its use is noted. */
async function touched(folder: string): Promise<boolean> {
  try {
    const now = new Date();
    await utimes(folder, now, now);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

const INCOMING = 'incoming-';

/** What a process that died had begun; nobody else fetches while we hold the lock. */
async function clearIncoming(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (name.startsWith(INCOMING)) await rm(join(cacheDir, name), { recursive: true, force: true });
  }
}

async function bring(options: FetchOptions, folder: string): Promise<boolean> {
  const { blobs, name, cacheDir, fingerprint, logger } = options;
  const draft = join(cacheDir, `${INCOMING}${freshHexId()}`);
  const archive = `${draft}.archive`;
  const startedAt = Date.now();
  try {
    if (!(await blobs.get(name, archive))) return false;
    await mkdir(draft);
    const bytesMax = options.bytesMax ?? BYTES_MAX;
    const manifest = await unpackIndex({ path: archive, folder: draft, fingerprint, bytesMax });
    await checkIndex(draft, manifest);
    await rename(draft, folder);
    const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
    logger.log(
      'info',
      'retrieval',
      `[retrieval] fetched the knowledge index from the cluster: ${manifest.passages} passages in ${seconds} s`,
      { fingerprint },
    );
    return true;
  } finally {
    await rm(archive, { force: true });
    await rm(draft, { recursive: true, force: true });
  }
}

async function evict(cacheDir: string, indexesMax: number): Promise<void> {
  const names = (await readdir(cacheDir)).filter((name) => FINGERPRINT.test(name));
  const folders = await Promise.all(
    names.map(async (name) => {
      const path = join(cacheDir, name);
      return { path, usedAtMs: (await stat(path)).mtimeMs };
    }),
  );
  const oldestFirst = folders.sort((a, b) => a.usedAtMs - b.usedAtMs);
  let surplus = oldestFirst.length - indexesMax;
  for (const { path, usedAtMs } of oldestFirst) {
    if (surplus <= 0 || Date.now() - usedAtMs < JUST_USED_MS) return;
    if ((await tablesInUse(path)).size > 0) continue;
    const aside = join(cacheDir, `${INCOMING}${freshHexId()}`);
    await rename(path, aside);
    await rm(aside, { recursive: true, force: true });
    surplus -= 1;
  }
}
