/** Writes that are whole or not there at all, also after the power fails. */
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { naming } from './output-error.ts';

/** Writes beside, syncs, renames over. Readers see the old file or the new one. */
export async function replaceFile(path: string, content: string | Uint8Array): Promise<void> {
  await writeBeside(path, content);
  await naming(path, () => rename(besideOf(path), path));
  await syncFolder(dirname(path));
}

export const besideOf = (path: string): string => `${path}.tmp`;

/** Writes and syncs the file that a rename will put in place. */
export async function writeBeside(path: string, content: string | Uint8Array): Promise<void> {
  const beside = besideOf(path);
  await naming(beside, async () => {
    await using file = await open(beside, 'w');
    await file.writeFile(content);
    await file.sync();
  });
}

/** Makes renames in this folder survive a power failure. */
export async function syncFolder(path: string): Promise<void> {
  await naming(path, async () => {
    await using folder = await open(path, 'r');
    await folder.sync();
  });
}
