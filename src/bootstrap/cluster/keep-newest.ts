/** What nodes leave on a disk is bounded: the newest are kept, for whoever looks for a reason. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

export const KEPT = 20;

export interface KeepNewestOptions {
  readonly folder: string;
  readonly isOne: (name: string) => boolean;
  /** In use, however old. */
  readonly isUsed?: (path: string) => Promise<boolean>;
  /** @default 20 */
  readonly keep?: number;
}

export async function keepNewest({ folder, isOne, isUsed, keep = KEPT }: KeepNewestOptions): Promise<void> {
  // Another node may be clearing the same folder.
  const names = (await readdir(folder).catch(() => [])).filter(isOne);
  if (names.length <= keep) return;
  const dated = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      return {
        path,
        ms: await stat(path).then(
          ({ mtimeMs }) => mtimeMs,
          () => 0,
        ),
      };
    }),
  );
  for (const { path } of dated.toSorted((a, b) => b.ms - a.ms).slice(keep)) {
    if ((await isUsed?.(path)) !== true) await rm(path, { recursive: true, force: true });
  }
}
