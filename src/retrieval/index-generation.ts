/** Writes one generation of the index: all rows in order, their search structures, then the manifest. */
import { DlgforgeError } from '../kernel/errors.ts';
import { freshHexId } from '../kernel/ids.ts';
import type { DocumentPool } from './document-pool.ts';
import type { SkippedFile } from './documents.ts';
import { indexFingerprint } from './index-fingerprint.ts';
import {
  type IndexedFile,
  type IndexIdentity,
  type Manifest,
  readManifest,
  writeManifest,
} from './index-manifest.ts';
import { type IndexOptions, identityOf } from './index-options.ts';
import type { UpdatePlan } from './index-plan.ts';
import type { IndexProgress } from './index-report.ts';
import { type FileRows, updatedRows } from './index-rows.ts';
import { type PassageTable, PassageTables } from './passage-table.ts';

function noReadableText(knowledgeDir: string, skipped: readonly SkippedFile[]): DlgforgeError {
  const shown = skipped.slice(0, 5).map(({ source, reason }) => `${source}: ${reason}`);
  const more = skipped.length > shown.length ? `; and ${skipped.length - shown.length} more` : '';
  return new DlgforgeError(
    'knowledge',
    `No readable text found in ${knowledgeDir}: ${shown.join('; ')}${more}. Add at least one document with text.`,
    { details: { skipped } },
  );
}

async function writeRows(
  table: PassageTable,
  stream: AsyncIterable<FileRows>,
  total: number,
  identity: IndexIdentity,
  report: GenerationInput['report'],
): Promise<Pick<Manifest, 'files' | 'passages' | 'textLength' | 'fingerprint'>> {
  const files: IndexedFile[] = [];
  const fingerprint = indexFingerprint(identity);
  let passages = 0;
  let textLength = 0;
  for await (const part of stream) {
    for (const { passage } of part.rows) fingerprint.add(passage);
    passages = await table.append(part.rows);
    textLength += part.rows.reduce((sum, row) => sum + row.passage.text.length, 0);
    files.push(...part.completed);
    report({ phase: 'read', done: files.length, total, passages });
  }
  return { files, passages, textLength, fingerprint: fingerprint.digest() };
}

export interface GenerationInput {
  readonly options: IndexOptions;
  readonly tables: PassageTables;
  readonly plan: UpdatePlan;
  /** The index that unchanged rows are copied from; null to read everything. */
  readonly base: Manifest | null;
  readonly pool: DocumentPool;
  readonly report: (progress: IndexProgress) => void;
}

/** Takes a table that did not become the index away. */
async function discard(tables: PassageTables, persistDir: string, name: string): Promise<void> {
  const state = await readManifest(persistDir);
  if (state.type !== 'present' || state.manifest.table !== name) await tables.drop(name);
}

/** Writes a complete table beside the live one and puts it in its place; returns its manifest. */
export async function writeGeneration({
  options,
  tables,
  plan,
  base,
  pool,
  report,
}: GenerationInput): Promise<Manifest> {
  const identity = identityOf(options);
  const dimension = identity.embedder?.dimension ?? null;
  const name = PassageTables.freshName(freshHexId());
  const checkedAtMs = Date.now();
  const previous = base === null ? null : await tables.open(base.table, dimension);
  const table = await tables.create(name, dimension);
  try {
    const stream = updatedRows({
      plan,
      previous,
      pool,
      embedder: options.embedder,
      chunking: { size: options.chunkSize, overlap: options.chunkOverlap },
      signal: options.signal,
    });
    const { files, ...sums } = await writeRows(table, stream, plan.files.length, identity, report);
    if (sums.passages === 0)
      throw noReadableText(options.knowledgeDir, [
        ...plan.skipped,
        ...files.map((file) => ({ source: file.source, reason: file.skipped ?? 'no text' })),
      ]);
    const progress = { done: files.length, total: files.length, passages: sums.passages };
    report({ phase: 'index', ...progress });
    await table.finish(options.vectorIndexRows);
    report({ phase: 'swap', ...progress });
    const manifest: Manifest = { identity, table: name, ...sums, checkedAtMs, files };
    await writeManifest(options.persistDir, manifest);
    return manifest;
  } catch (error) {
    await discard(tables, options.persistDir, name);
    throw error;
  } finally {
    table.close();
    previous?.close();
  }
}
