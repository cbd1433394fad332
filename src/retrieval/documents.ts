/** Finds the knowledge files below a folder. Reads names and sizes, never contents. */
import type { BigIntStats, Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';

export const SUPPORTED = /\.(?:txt|md|pdf)$/i;

/** Larger files are reported and skipped: they would have to be held in memory whole. */
export const TEXT_BYTES_MAX = 64 * 1024 * 1024;
export const PDF_BYTES_MAX = 256 * 1024 * 1024;

/** A file that gives no text, and why; `source` is relative to the knowledge folder. */
export interface SkippedFile {
  readonly source: string;
  readonly reason: string;
}

export interface KnowledgeFile {
  /** Relative to the knowledge folder, `/` separated. */
  readonly source: string;
  readonly path: string;
  /** Says that the file is the same as when it had this stamp; every change of content changes it. */
  readonly stamp: string;
  /** When its content or its inode last changed, in milliseconds since the epoch. */
  readonly changedAtMs: number;
}

export interface KnowledgeFolder {
  /** By relative path, in code unit order. */
  readonly files: readonly KnowledgeFile[];
  /** Found, but already known to be of no use: broken links, no permission, too large. */
  readonly skipped: readonly SkippedFile[];
}

interface Walk {
  readonly files: KnowledgeFile[];
  readonly skipped: SkippedFile[];
  /** Real paths of the folders seen, so that links in a circle end. */
  readonly seen: Set<string>;
  readonly links: { readonly source: string; readonly path: string }[];
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EACCES' || code === 'EPERM') return 'permission denied; allow this user to read it';
  if (code === 'ENOENT' || code === 'ELOOP') return 'the link leads nowhere';
  return messageOf(error);
}

function addFile(walk: Walk, source: string, path: string, stats: BigIntStats): void {
  const limit = /\.pdf$/i.test(source) ? PDF_BYTES_MAX : TEXT_BYTES_MAX;
  if (stats.size > BigInt(limit)) {
    walk.skipped.push({ source, reason: `larger than ${limit / 1024 / 1024} MiB; split it` });
    return;
  }
  const stamp = [stats.size, stats.mtimeNs, stats.ctimeNs, stats.ino].join('-');
  walk.files.push({
    source,
    path,
    stamp,
    changedAtMs: Number(stats.ctimeMs > stats.mtimeMs ? stats.ctimeMs : stats.mtimeMs),
  });
}

async function visit(walk: Walk, source: string, path: string, entry: Dirent): Promise<void> {
  if (entry.isDirectory()) return enter(walk, source, path);
  const link = entry.isSymbolicLink();
  if (!link && !SUPPORTED.test(source)) return;
  try {
    const stats = await stat(path, { bigint: true });
    if (stats.isDirectory()) walk.links.push({ source, path });
    else if (stats.isFile() && SUPPORTED.test(source)) addFile(walk, source, path, stats);
  } catch (error) {
    if (SUPPORTED.test(source)) walk.skipped.push({ source, reason: reasonOf(error) });
  }
}

async function enter(walk: Walk, source: string, path: string): Promise<void> {
  try {
    const real = await realpath(path);
    if (walk.seen.has(real)) return;
    walk.seen.add(real);
    for (const entry of await readdir(path, { withFileTypes: true })) {
      await visit(
        walk,
        source === '' ? entry.name : `${source}/${entry.name}`,
        join(path, entry.name),
        entry,
      );
    }
  } catch (error) {
    walk.skipped.push({ source: source === '' ? '.' : source, reason: reasonOf(error) });
  }
}

const bySource = (a: { readonly source: string }, b: { readonly source: string }): number =>
  a.source < b.source ? -1 : a.source > b.source ? 1 : 0;

/** Linked folders come after all real ones, so that a file keeps the name of its real place. */
async function enterLinks(walk: Walk): Promise<void> {
  while (walk.links.length > 0) {
    const links = walk.links.splice(0).sort(bySource);
    for (const link of links) await enter(walk, link.source, link.path);
  }
}

/**
 * @throws DlgforgeError `knowledge` when the folder is missing or has no `.txt`, `.md` or `.pdf` in it
 */
export async function scanKnowledge(folder: string): Promise<KnowledgeFolder> {
  const stats = await stat(folder).catch(() => null);
  if (!stats?.isDirectory()) {
    throw new DlgforgeError(
      'knowledge',
      `Missing knowledge directory: ${folder}. Create it and put .txt, .md or .pdf files in it.`,
    );
  }
  const walk: Walk = { files: [], skipped: [], seen: new Set(), links: [] };
  await enter(walk, '', folder);
  await enterLinks(walk);
  if (walk.files.length === 0 && walk.skipped.length === 0) {
    throw new DlgforgeError(
      'knowledge',
      `No supported knowledge files found in ${folder}. Put .txt, .md or .pdf files in it.`,
    );
  }
  return { files: walk.files.sort(bySource), skipped: walk.skipped.sort(bySource) };
}
