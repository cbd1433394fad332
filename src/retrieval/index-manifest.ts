/**
 * The one file that says which table is the index. It is replaced by an atomic rename, so there is
 * no moment at which half an index is live, and nothing beside it can go stale (fault F4).
 */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { DlgforgeError } from '../kernel/errors.ts';

/** Raised when stored rows, search terms or passage ids would come out differently. */
export const INDEX_FORMAT = 1;
export const MANIFEST = 'manifest.json';

const identitySchema = z.object({
  format: z.number(),
  chunkSize: z.number(),
  chunkOverlap: z.number(),
  embedder: z.object({ model: z.string(), dimension: z.number(), version: z.string() }).nullable(),
});

const fileSchema = z.object({
  source: z.string(),
  /** SHA-256 of the bytes; null when not even they could be read. */
  hash: z.string().nullable(),
  stamp: z.string(),
  /** Rows in the table; they follow one another, in the order of the files. */
  passages: z.number(),
  /** Why the file has no passages; null when it has. */
  skipped: z.string().nullable(),
});

const manifestSchema = z.object({
  identity: identitySchema,
  table: z.string().regex(/^passages-[0-9a-f]+$/),
  fingerprint: z.string(),
  passages: z.number(),
  textLength: z.number(),
  /** When the files were last compared, in milliseconds since the epoch. */
  checkedAtMs: z.number(),
  files: z.array(fileSchema),
});

/** Everything besides the documents that decides what is in an index. */
export type IndexIdentity = z.infer<typeof identitySchema>;
export type IndexedFile = z.infer<typeof fileSchema>;
export type Manifest = z.infer<typeof manifestSchema>;

export type ManifestState =
  | { readonly type: 'present'; readonly manifest: Manifest }
  | { readonly type: 'missing' }
  | { readonly type: 'damaged'; readonly reason: string };

export async function readManifest(persistDir: string): Promise<ManifestState> {
  let text: string;
  try {
    text = await readFile(join(persistDir, MANIFEST), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { type: 'missing' };
    throw new DlgforgeError(
      'retrieval',
      `The index manifest in ${persistDir} cannot be read. Check the folder's permissions.`,
      { cause: error },
    );
  }
  return parseManifest(text);
}

export function parseManifest(text: string): Exclude<ManifestState, { readonly type: 'missing' }> {
  try {
    const parsed = manifestSchema.safeParse(JSON.parse(text));
    return parsed.success
      ? { type: 'present', manifest: parsed.data }
      : { type: 'damaged', reason: z.prettifyError(parsed.error) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { type: 'damaged', reason: error.message };
  }
}

/** Durable when it resolves: the new manifest, or still the old one, is there after any crash. */
export async function writeManifest(persistDir: string, manifest: Manifest): Promise<void> {
  const draft = join(persistDir, `${MANIFEST}.${process.pid}.tmp`);
  try {
    const file = await open(draft, 'w');
    try {
      await file.writeFile(JSON.stringify(manifest));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, join(persistDir, MANIFEST));
  } catch (error) {
    await rm(draft, { force: true });
    throw new DlgforgeError(
      'retrieval',
      `The index manifest in ${persistDir} cannot be written. Check free space and permissions.`,
      { cause: error },
    );
  }
  const folder = await open(persistDir, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
