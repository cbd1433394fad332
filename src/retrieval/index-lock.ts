/**
 * One writer per index folder, across processes. The lock file names the writer's process; a lock
 * whose process is gone is taken over. A writer on another machine renews its file, and counts as
 * gone when it has not done so for `FOREIGN_STALE_MS`.
 */
import { link, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, delay } from '../kernel/clock.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { freshHexId } from '../kernel/ids.ts';
import type { Logger } from '../kernel/logger.ts';
import { isAlive, ownMark, parseMark } from './process-mark.ts';

const LOCK = 'writer.lock';
const POLL_MS = 100;
const RENEW_MS = 5_000;
const FOREIGN_STALE_MS = 60_000;
/** Indexing a large folder with a slow embedder takes long; waiting for ever hides a mistake. */
const WAIT_MS = 30 * 60_000;

export interface IndexLock {
  release(): Promise<void>;
}

interface LockOptions {
  readonly persistDir: string;
  readonly logger: Logger;
  readonly clock: Clock;
  /** What whoever waits is told of the holder. @default indexing the same folder */
  readonly doing?: string;
  readonly signal?: AbortSignal | undefined;
}

const missing = (error: unknown): null => {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
  throw error;
};

/** Makes the lock file with its content in one step; false when there is one already. */
async function create(path: string): Promise<boolean> {
  const draft = `${path}.${freshHexId()}`;
  await writeFile(draft, JSON.stringify(ownMark()));
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

type Holder =
  | { readonly type: 'none' }
  | { readonly type: 'stale'; readonly content: string }
  | { readonly type: 'alive'; readonly pid: number; readonly host: string };

async function holderOf(path: string): Promise<Holder> {
  const [content, stats] = await Promise.all([
    readFile(path, 'utf8').catch(missing),
    stat(path).catch(missing),
  ]);
  if (content === null || stats === null) return { type: 'none' };
  const mark = parseMark(content);
  const alive = mark === null ? false : isAlive(mark);
  const renewed = Date.now() - stats.mtimeMs < FOREIGN_STALE_MS;
  if (mark === null || alive === false || (alive === 'unknown' && !renewed))
    return { type: 'stale', content };
  return { type: 'alive', pid: mark.pid, host: mark.host };
}

/**
 * Removes the lock judged stale. Another process may have taken it over in between, so it is moved
 * away first and put back when it is not the one that was judged.
 */
async function evict(path: string, content: string): Promise<void> {
  const aside = `${path}.${freshHexId()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    return void missing(error);
  }
  if ((await readFile(aside, 'utf8')) !== content) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}

/** @throws DlgforgeError `retrieval` after a long wait, `cancelled` when the signal aborts. */
export async function lockIndex({
  persistDir,
  logger,
  clock,
  doing = 'indexing the same folder',
  signal,
}: LockOptions): Promise<IndexLock> {
  const path = join(persistDir, LOCK);
  const deadline = clock.now() + WAIT_MS;
  for (let said = false; !(await create(path)); ) {
    const holder = await holderOf(path);
    if (holder.type === 'none') continue;
    if (holder.type === 'stale') {
      await evict(path, holder.content);
      continue;
    }
    if (!said)
      logger.log(
        'info',
        'retrieval',
        `[retrieval] waiting for process ${holder.pid} on ${holder.host}, which is ${doing}`,
      );
    said = true;
    if (signal?.aborted) throw new DlgforgeError('cancelled', 'Stopped while it waited for another process.');
    if (clock.now() > deadline) {
      throw new DlgforgeError(
        'retrieval',
        `Process ${holder.pid} on ${holder.host} has been ${doing} (${persistDir}) for long. Stop it, or give this run its own tools.retrieval.index.persist_dir.`,
        { retryable: true },
      );
    }
    await delay(clock, POLL_MS, signal);
  }
  const renewal = setInterval(
    () => void utimes(path, new Date(), new Date()).catch(() => undefined),
    RENEW_MS,
  );
  renewal.unref();
  return {
    async release() {
      clearInterval(renewal);
      await rm(path, { force: true });
    },
  };
}
