/**
 * One head per namespace and folder: `head.lock`, made exclusively, for a head's whole life. Two heads would run
 * two NATS servers on one folder of streams.
 *
 * Invariants:
 * - K1 Whoever holds it runs, on this host: the file names the process beyond its number. One of another host or
 *   container, which cannot be looked at, is held while its holder keeps touching it.
 * - K2 A lock whose holder is dead is moved away before a new one is made; who moved a fresh one away by mistake
 *   puts it back.
 * - K3 A holder removes its own lock only.
 */
import { link, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { freshHexId } from '../../kernel/ids.ts';
import type { HolderInfo } from '../../ports/store.ts';
import { isProcessAlive, processIdentity } from '../../store/process-identity.ts';
import { makePrivateFolder, namespaceFolder } from './address-file.ts';

export interface HeadLock {
  /** Idempotent. */
  release(): Promise<void>;
}

export type HeadLockResult =
  | { readonly type: 'held'; readonly by: HolderInfo }
  | { readonly type: 'acquired'; readonly lock: HeadLock };

const holder = z.object({
  host: z.string(),
  pid: z.number().int().positive(),
  processKey: z.string(),
  command: z.string(),
  sinceMs: z.number(),
});

const TOUCH_MS = 5_000;
/** Longer than a holder that lives may be silent. */
const SILENCE_MS = 30_000;
/** A file without its content is being written, or its writer died at that moment. */
const WRITING_MS = 1_000;
const POLL_MS = 25;

/** @throws DlgforgeError `output` when the folder cannot be written. */
export async function takeHeadLock(
  home: string,
  namespace: string,
  command: string,
): Promise<HeadLockResult> {
  const folder = namespaceFolder(home, namespace);
  const path = join(folder, 'head.lock');
  const content = `${JSON.stringify(processIdentity(command))}\n`;
  try {
    await makePrivateFolder(folder);
    for (;;) {
      if (await make(path, content)) return { type: 'acquired', lock: keep(path, content) };
      const found = await readFile(path, 'utf8').catch(ifMissing);
      if (found === null) continue;
      const by = holderIn(found);
      if (await isHeld(path, by)) {
        if (by !== null) return { type: 'held', by };
        await sleep(POLL_MS);
      } else await moveAway(path, found);
    }
  } catch (cause) {
    throw new DlgforgeError(
      'output',
      `The lock of the head cannot be written to ${path}: ${messageOf(cause)}. Make the folder writable, or set DLGFORGE_CLUSTER_DIR to another one.`,
      { cause },
    );
  }
}

/** False when there is one. */
async function make(path: string, content: string): Promise<boolean> {
  try {
    await writeFile(path, content, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** K1. */
async function isHeld(path: string, by: HolderInfo | null): Promise<boolean> {
  const touched = await stat(path).catch(ifMissing);
  // Gone meanwhile: the next attempt to make it tells.
  if (touched === null) return true;
  const silentMs = Date.now() - touched.mtimeMs;
  if (by === null) return silentMs < WRITING_MS;
  return by.host === processIdentity('').host ? isProcessAlive(by) : silentMs < SILENCE_MS;
}

/** K2. */
async function moveAway(path: string, stale: string): Promise<void> {
  const aside = `${path}.${freshHexId().slice(0, 8)}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if ((await readFile(aside, 'utf8')) !== stale) {
    await link(aside, path).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error;
    });
  }
  await rm(aside, { force: true });
}

function keep(path: string, content: string): HeadLock {
  const timer = setInterval(() => {
    const now = new Date();
    // Other hosts see its silence, this one looks at the process.
    utimes(path, now, now).catch(() => undefined);
  }, TOUCH_MS);
  timer.unref();
  return {
    async release() {
      clearInterval(timer);
      if ((await readFile(path, 'utf8').catch(ifMissing)) === content) await rm(path, { force: true });
    },
  };
}

function holderIn(text: string): HolderInfo | null {
  try {
    return holder.parse(JSON.parse(text));
  } catch {
    // Cut off: K1 says how long it counts.
    return null;
  }
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;

const ifMissing = (error: unknown): null => {
  if (hasCode(error, 'ENOENT')) return null;
  throw error;
};
