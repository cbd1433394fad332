/** Compares the documents with what the index has: which file is new, changed, gone or as it was. */
import { DlgforgeError } from '../kernel/errors.ts';
import type { DocumentPool } from './document-pool.ts';
import type { KnowledgeFile, KnowledgeFolder, SkippedFile } from './documents.ts';
import type { IndexedFile, Manifest } from './index-manifest.ts';

export interface PlannedFile {
  readonly kind: 'added' | 'changed' | 'unchanged';
  readonly file: KnowledgeFile;
  /** What the index has of it; null when it is new. */
  readonly known: IndexedFile | null;
  /** Its first row in the live table. */
  readonly firstRow: number;
}

export interface UpdatePlan {
  /** By relative path. */
  readonly files: readonly PlannedFile[];
  /** Files with passages in the index that are no longer there. */
  readonly removed: readonly string[];
  /** Found in the folder, but known to be of no use before reading. */
  readonly skipped: readonly SkippedFile[];
  readonly isUnchanged: boolean;
  /** Nothing has changed, but some file had to be read to see it. */
  readonly isRestamped: boolean;
}

interface PlanOptions {
  /** Take a file with the same stamp for unchanged. */
  readonly trustStamps: boolean;
  /** A stamp is not trusted when the file had changed less than this before it was checked. */
  readonly racyMs: number;
  readonly pool: DocumentPool;
  readonly signal?: AbortSignal | undefined;
}

interface KnownFile {
  readonly known: IndexedFile;
  readonly firstRow: number;
}

function knownFiles(base: Manifest | null): ReadonlyMap<string, KnownFile> {
  const files = new Map<string, KnownFile>();
  let firstRow = 0;
  for (const known of base?.files ?? []) {
    files.set(known.source, { known, firstRow });
    firstRow += known.passages;
  }
  return files;
}

export async function planUpdate(
  folder: KnowledgeFolder,
  base: Manifest | null,
  options: PlanOptions,
): Promise<UpdatePlan> {
  const known = knownFiles(base);
  const present = new Set(folder.files.map(({ source }) => source));
  const trusted = (file: KnowledgeFile, entry: IndexedFile): boolean =>
    options.trustStamps &&
    entry.hash !== null &&
    entry.stamp === file.stamp &&
    file.changedAtMs + options.racyMs < (base?.checkedAtMs ?? 0);
  const isSame = async (file: KnowledgeFile, entry: IndexedFile): Promise<boolean> => {
    if (trusted(file, entry)) return true;
    const outcome = await options.pool.read({ source: file.source, path: file.path, chunking: null });
    return outcome.type !== 'passages' && outcome.hash !== null && outcome.hash === entry.hash;
  };
  const files = await Promise.all(
    folder.files.map(async (file): Promise<PlannedFile> => {
      const entry = known.get(file.source);
      if (entry === undefined) return { kind: 'added', file, known: null, firstRow: 0 };
      const kind = (await isSame(file, entry.known)) ? 'unchanged' : 'changed';
      return { kind, file, ...entry };
    }),
  );
  if (options.signal?.aborted)
    throw new DlgforgeError(
      'cancelled',
      'Indexing was stopped. The index that was there before stays in use.',
    );
  const removed = [...known.values()].flatMap(({ known: entry }) =>
    present.has(entry.source) || entry.passages === 0 ? [] : [entry.source],
  );
  const isUnchanged = removed.length === 0 && files.every(({ kind }) => kind === 'unchanged');
  const isRestamped = files.some(
    ({ file, known: entry }) => entry !== null && (entry.stamp !== file.stamp || !trusted(file, entry)),
  );
  return { files, removed, skipped: folder.skipped, isUnchanged, isRestamped };
}
