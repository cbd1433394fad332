/**
 * One generation of an index as one file: its manifest and the files of its table, for other nodes.
 *
 * gzip over: a JSON line of what follows; then per file a JSON line with its path and size, its bytes, and
 * their SHA-256. Nothing in it is believed when it is unpacked (I10):
 * 1. Only `manifest.json` and plain names below the table's folder are written, each once, as new regular
 *    files below the target folder.
 * 2. No file is longer than it said, and all together are not longer than the caller allows.
 * 3. Every digest is checked, and the manifest must be the one that was asked for.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, createGzip } from 'node:zlib';
import { z } from 'zod';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { type ArchiveBytes, archiveBytes } from './archive-bytes.ts';
import { MANIFEST, type Manifest, parseManifest } from './index-manifest.ts';

const FORMAT = 1;
const FILES_MAX = 100_000;
/** The manifest is parsed in memory; one of a million documents is a fifth of this. */
const MANIFEST_BYTES_MAX = 1024 * 1024 * 1024;
const DIGEST_BYTES = 32;

const headSchema = z.object({
  format: z.literal(FORMAT),
  files: z.int().min(1).max(FILES_MAX),
  bytes: z.int().nonnegative(),
});
const fileSchema = z.object({ path: z.string().max(500), size: z.int().nonnegative() });

export const tableFolder = (table: string): string => `${table}.lance`;

/** Writes the archive to `path`, which must not exist. */
export async function packIndex(persistDir: string, manifest: Manifest, path: string): Promise<void> {
  const files = await tableFiles(persistDir, manifest.table);
  const entries = packed(persistDir, Buffer.from(JSON.stringify(manifest)), files);
  // The vectors hardly get smaller, and the rest does so at any level.
  await pipeline(
    Readable.from(entries),
    createGzip({ level: constants.Z_BEST_SPEED }),
    createWriteStream(path, { flags: 'wx' }),
  );
}

interface TableFile {
  /** Relative to the index folder, with `/`. */
  readonly path: string;
  readonly size: number;
}

async function tableFiles(persistDir: string, table: string): Promise<TableFile[]> {
  const folder = tableFolder(table);
  const entries = await readdir(join(persistDir, folder), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const relative = files.map((file) =>
    file.slice(persistDir.length).split(/[\\/]/).filter(Boolean).join('/'),
  );
  return Promise.all(
    relative.sort().map(async (path) => ({ path, size: (await stat(join(persistDir, path))).size })),
  );
}

const line = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value)}\n`);

async function* packed(
  persistDir: string,
  manifest: Buffer,
  files: readonly TableFile[],
): AsyncGenerator<Buffer> {
  const bytes = files.reduce((sum, { size }) => sum + size, manifest.length);
  yield line({ format: FORMAT, files: files.length + 1, bytes });
  yield* entry({ path: MANIFEST, size: manifest.length }, [manifest]);
  for (const file of files) yield* entry(file, createReadStream(join(persistDir, file.path)));
}

async function* entry(
  file: TableFile,
  content: Iterable<Buffer> | AsyncIterable<Buffer>,
): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  let size = 0;
  yield line(file);
  for await (const chunk of content) {
    size += chunk.length;
    hash.update(chunk);
    yield chunk;
  }
  if (size !== file.size) {
    throw new DlgforgeError('retrieval', `The index changed while it was being published (${file.path}).`, {
      retryable: true,
    });
  }
  yield hash.digest();
}

export interface UnpackOptions {
  readonly path: string;
  /** Empty. */
  readonly folder: string;
  readonly fingerprint: string;
  /** Most bytes that the files may have together. */
  readonly bytesMax: number;
}

/** @throws DlgforgeError `retrieval` when it is not a sound archive of that index; the folder is of no use then. */
export async function unpackIndex({ path, folder, fingerprint, bytesMax }: UnpackOptions): Promise<Manifest> {
  const source = createReadStream(path);
  const gunzip = createGunzip();
  // What goes wrong in between reaches the reader at the end of it.
  const flow = pipeline(source, gunzip).catch(() => undefined);
  try {
    const bytes = archiveBytes(gunzip);
    const head = headSchema.parse(await bytes.json());
    if (head.bytes > bytesMax) throw refused(`it is ${head.bytes} bytes long, and ${bytesMax} are allowed`);
    let left = head.bytes;
    const take = async (file: TableFile): Promise<void> => {
      left -= file.size;
      if (left < 0) throw refused('it holds more than it says');
      await writeFile(join(folder, file.path), file.size, bytes);
    };
    const manifest = await takeManifest(bytes, fingerprint, take, folder);
    for (let count = 1; count < head.files; count += 1) {
      const file = fileSchema.parse(await bytes.json());
      if (!isTablePath(file.path, manifest.table)) throw refused(`it holds a file ${shown(file.path)}`);
      await take(file);
    }
    await bytes.end();
    return manifest;
  } catch (error) {
    if (error instanceof DlgforgeError) throw error;
    throw refused(error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error), error);
  } finally {
    source.destroy();
    gunzip.destroy();
    await flow;
  }
}

/** The first file; it names the table, and so the folder of all others. */
async function takeManifest(
  bytes: ArchiveBytes,
  fingerprint: string,
  take: (file: TableFile) => Promise<void>,
  folder: string,
): Promise<Manifest> {
  const first = fileSchema.parse(await bytes.json());
  if (first.path !== MANIFEST || first.size > MANIFEST_BYTES_MAX) throw refused('it has no manifest');
  await take(first);
  const file = await open(join(folder, MANIFEST));
  try {
    const state = parseManifest(await file.readFile('utf8'));
    if (state.type === 'damaged') throw refused(state.reason);
    if (state.manifest.fingerprint === fingerprint) return state.manifest;
    throw refused(`it is the index ${state.manifest.fingerprint}, and ${fingerprint} was asked for`);
  } finally {
    await file.close();
  }
}

async function writeFile(path: string, size: number, bytes: ArchiveBytes): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const hash = createHash('sha256');
  const file = await open(path, 'wx', 0o644);
  try {
    for await (const chunk of bytes.chunks(size)) {
      hash.update(chunk);
      await file.appendFile(chunk);
    }
  } finally {
    await file.close();
  }
  if (!hash.digest().equals(await bytes.take(DIGEST_BYTES))) throw refused('a file in it is damaged');
}

const PLAIN_NAME = /^(?!\.{1,2}$)[\w.-]{1,200}$/;

function isTablePath(path: string, table: string): boolean {
  const [folder, ...names] = path.split('/');
  return folder === tableFolder(table) && names.length > 0 && names.every((name) => PLAIN_NAME.test(name));
}

const shown = (path: string): string => JSON.stringify(path.slice(0, 100));

const refused = (why: string, cause?: unknown): DlgforgeError =>
  new DlgforgeError('retrieval', `The index that another node published cannot be used: ${why}.`, {
    cause,
  });
