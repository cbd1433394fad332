/** What a repository holds, and what has to change in it to hold what a folder holds. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';

export interface LocalFile {
  /** Below the folder, with `/`. */
  readonly path: string;
  readonly absolute: string;
  readonly bytes: number;
}

export interface RemoteFile {
  readonly path: string;
  readonly bytes: number;
  /** As git names the bytes, or as LFS does. */
  readonly digest: { readonly algorithm: 'git' | 'sha256'; readonly hex: string } | null;
}

export interface Changes {
  readonly put: readonly LocalFile[];
  readonly remove: readonly string[];
}

/** Every plain file, in the order of its path. Links are not followed: nothing outside the folder leaves it. */
export async function localFiles(
  folder: string,
  isLeftOut: (path: string) => boolean,
): Promise<readonly LocalFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((absolute) => ({ absolute, path: relative(folder, absolute).split(sep).join('/') }))
    .filter(({ path }) => !isLeftOut(path))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  return await Promise.all(
    files.map(async ({ absolute, path }) => ({ absolute, path, bytes: (await stat(absolute)).size })),
  );
}

/** The Hub writes it by itself, to remember which files are large ones. */
const GIT_ATTRIBUTES = '.gitattributes';

/** Files with the same bytes stay as they are; others go only when `cleanRemote` asks for it. */
export async function changesOf(
  local: readonly LocalFile[],
  remote: readonly RemoteFile[],
  cleanRemote: boolean,
): Promise<Changes> {
  const there = new Map(remote.map((file) => [file.path, file]));
  const put: LocalFile[] = [];
  for (const file of local) {
    if (!(await isSame(file, there.get(file.path)))) put.push(file);
  }
  const kept = new Set([GIT_ATTRIBUTES, ...local.map(({ path }) => path)]);
  const remove = cleanRemote ? remote.map(({ path }) => path).filter((path) => !kept.has(path)) : [];
  return { put, remove };
}

async function isSame(file: LocalFile, remote: RemoteFile | undefined): Promise<boolean> {
  if (remote?.digest == null || remote.bytes !== file.bytes) return false;
  const { algorithm, hex } = remote.digest;
  const hash = createHash(algorithm === 'git' ? 'sha1' : 'sha256');
  if (algorithm === 'git') hash.update(`blob ${file.bytes}\0`);
  for await (const chunk of createReadStream(file.absolute)) hash.update(chunk as Buffer);
  return hash.digest('hex') === hex;
}
