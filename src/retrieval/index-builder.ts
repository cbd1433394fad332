/**
 * Brings the index of a knowledge folder up to date.
 *
 * An update never touches the live table. It writes a new one beside it, where rows of unchanged
 * documents are copied with their vectors and only new and changed documents are read, chunked and
 * embedded, and then replaces the manifest. Invariants:
 * 1. At every moment the manifest names a complete table; a crash leaves the one before.
 * 2. One writer at a time; what a dead one left is removed by the next.
 * 3. The rows are a function of the documents and the identity, not of how they came in.
 */
import { createHash, type Hash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { systemClock } from '../kernel/clock.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { canonicalJson } from '../kernel/hash.ts';
import { freshHexId } from '../kernel/ids.ts';
import type { Logger } from '../kernel/logger.ts';
import type { Embedder } from '../ports/retriever.ts';
import { DocumentPool } from './document-pool.ts';
import { type KnowledgeFolder, scanKnowledge, type SkippedFile } from './documents.ts';
import { lockIndex } from './index-lock.ts';
import {
  INDEX_FORMAT,
  type IndexedFile,
  type IndexIdentity,
  type Manifest,
  readManifest,
  writeManifest,
} from './index-manifest.ts';
import { planUpdate, type UpdatePlan } from './index-plan.ts';
import { tablesInUse } from './index-readers.ts';
import { type FileRows, updatedRows } from './index-rows.ts';
import { type PassageRow, type PassageTable, PassageTables } from './passage-table.ts';

export interface IndexOptions {
  /** Absolute path of the folder of documents. */
  readonly knowledgeDir: string;
  /** Absolute path of the folder that the index lives in; made when it is missing. */
  readonly persistDir: string;
  /** Most characters of a passage; > 0. */
  readonly chunkSize: number;
  /** Characters that neighbouring passages share at most; 0 ≤ overlap < chunkSize. */
  readonly chunkOverlap: number;
  /** Reads and embeds everything anew. The old index serves until the new one is complete. */
  readonly rebuild: boolean;
  /** True: a file whose size, times and inode are as before is taken for unchanged without reading it. */
  readonly skipIfUnchanged: boolean;
  /** null: full-text search only. */
  readonly embedder: Embedder | null;
  /** Vectors get a graph index from this many passages on. Default 20,000. */
  readonly vectorIndexRows?: number;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
}

export interface IndexProgress {
  /** `swap` is told after the new table is complete and before it goes live. */
  readonly phase: 'check' | 'read' | 'index' | 'swap' | 'done';
  /** Documents done, of `total`. */
  readonly done: number;
  readonly total: number;
  readonly passages: number;
}

/** Counts of files, besides what their names say. */
export interface IndexReport {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  readonly unchanged: number;
  readonly skipped: readonly SkippedFile[];
  readonly passages: number;
  readonly fingerprint: string;
  readonly mode: 'full_text' | 'hybrid';
  readonly tookMs: number;
}

type Report = (progress: IndexProgress) => void;

/** File times are coarse: what changed this shortly before a check may change again with equal times. */
const RACY_MS = 2_000;

function identityOf({ chunkSize, chunkOverlap, embedder }: IndexOptions): IndexIdentity {
  return { format: INDEX_FORMAT, chunkSize, chunkOverlap, embedder: embedder?.identity ?? null };
}

/** The live index when it can serve as a base: same identity, nothing damaged, no rebuild asked for. */
async function usableManifest(options: IndexOptions): Promise<Manifest | null> {
  const state = await readManifest(options.persistDir);
  if (state.type === 'damaged') {
    options.logger.log(
      'warn',
      'retrieval',
      '[retrieval] the index manifest is damaged; building the index anew',
      { reason: state.reason },
    );
  }
  if (state.type !== 'present' || options.rebuild) return null;
  return canonicalJson(state.manifest.identity) === canonicalJson(identityOf(options))
    ? state.manifest
    : null;
}

function reportOf(
  files: readonly IndexedFile[],
  folder: KnowledgeFolder,
  plan: UpdatePlan,
  manifest: Manifest,
  tookMs: number,
): IndexReport {
  const skipped = [
    ...folder.skipped,
    ...files.flatMap(({ source, skipped: reason }) => (reason === null ? [] : [{ source, reason }])),
  ];
  const readable = new Set(files.flatMap((file) => (file.skipped === null ? [file.source] : [])));
  const count = (kind: string): number =>
    plan.files.filter((file) => file.kind === kind && readable.has(file.file.source)).length;
  return {
    added: count('added'),
    changed: count('changed'),
    removed: plan.removed.length,
    unchanged: count('unchanged'),
    skipped: skipped.sort((a, b) => (a.source < b.source ? -1 : 1)),
    passages: manifest.passages,
    fingerprint: manifest.fingerprint,
    mode: manifest.identity.embedder === null ? 'full_text' : 'hybrid',
    tookMs,
  };
}

function noReadableText(knowledgeDir: string, skipped: readonly SkippedFile[]): DlgforgeError {
  const shown = skipped.slice(0, 5).map(({ source, reason }) => `${source}: ${reason}`);
  const more = skipped.length > shown.length ? `; and ${skipped.length - shown.length} more` : '';
  return new DlgforgeError(
    'knowledge',
    `No readable text found in ${knowledgeDir}: ${shown.join('; ')}${more}. Add at least one document with text.`,
    { details: { skipped } },
  );
}

/** Feeds the fingerprint: equal for equal passages in equal places. */
function absorb(hash: Hash, rows: readonly PassageRow[]): void {
  for (const { passage } of rows) hash.update(`${passage.id} ${passage.charStart} ${passage.descriptor}\n`);
}

async function writeRows(
  table: PassageTable,
  stream: AsyncIterable<FileRows>,
  total: number,
  identity: IndexIdentity,
  report: Report,
) {
  const files: IndexedFile[] = [];
  const hash = createHash('sha256').update(canonicalJson(identity));
  let passages = 0;
  let textLength = 0;
  for await (const part of stream) {
    absorb(hash, part.rows);
    passages = await table.append(part.rows);
    textLength += part.rows.reduce((sum, row) => sum + row.passage.text.length, 0);
    files.push(...part.completed);
    report({ phase: 'read', done: files.length, total, passages });
  }
  return { files, passages, textLength, fingerprint: hash.digest('hex') };
}

/** Removes tables that neither the manifest nor a living reader needs. */
async function sweep(tables: PassageTables, persistDir: string, live: string | null): Promise<void> {
  const inUse = await tablesInUse(persistDir);
  for (const name of await tables.list()) if (name !== live && !inUse.has(name)) await tables.drop(name);
}

async function buildTable(
  options: IndexOptions,
  tables: PassageTables,
  plan: UpdatePlan,
  base: Manifest | null,
  pool: DocumentPool,
  report: Report,
): Promise<Manifest> {
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
    await tables.drop(name);
    throw error;
  } finally {
    table.close();
    previous?.close();
  }
}

/** The base, unless its table is gone or short of rows: then a full build repairs it. */
async function soundBase(
  options: IndexOptions,
  tables: PassageTables,
  base: Manifest | null,
): Promise<Manifest | null> {
  if (base === null) return null;
  try {
    const table = await tables.open(base.table, base.identity.embedder?.dimension ?? null);
    const count = await table.count();
    table.close();
    if (count === base.passages) return base;
  } catch (error) {
    if (!(error instanceof DlgforgeError)) throw error;
  }
  options.logger.log(
    'warn',
    'retrieval',
    '[retrieval] the index table is missing or incomplete; building the index anew',
  );
  return null;
}

async function update(
  options: IndexOptions,
  folder: KnowledgeFolder,
  tables: PassageTables,
  pool: DocumentPool,
  report: Report,
  startedAt: number,
): Promise<IndexReport> {
  const base = await soundBase(options, tables, await usableManifest(options));
  await sweep(tables, options.persistDir, await liveTable(options.persistDir));
  const plan = await planUpdate(folder, base, {
    trustStamps: options.skipIfUnchanged,
    racyMs: RACY_MS,
    pool,
    signal: options.signal,
  });
  report({
    phase: 'check',
    done: plan.files.length,
    total: plan.files.length,
    passages: base?.passages ?? 0,
  });
  let manifest: Manifest;
  if (base !== null && plan.isUnchanged) {
    manifest = {
      ...base,
      checkedAtMs: startedAt,
      files: plan.files.flatMap(({ known, file }) => (known ? [{ ...known, stamp: file.stamp }] : [])),
    };
    if (plan.isRestamped) await writeManifest(options.persistDir, manifest);
  } else {
    manifest = await buildTable(options, tables, plan, base, pool, report);
    await sweep(tables, options.persistDir, manifest.table);
  }
  return reportOf(manifest.files, folder, plan, manifest, Date.now() - startedAt);
}

async function liveTable(persistDir: string): Promise<string | null> {
  const state = await readManifest(persistDir);
  return state.type === 'present' ? state.manifest.table : null;
}

function logReport(logger: Logger, report: IndexReport): void {
  for (const { source, reason } of report.skipped)
    logger.log('warn', 'retrieval', `[retrieval] skipped ${source}: ${reason}`);
  const { added, changed, removed, unchanged, passages, mode, tookMs } = report;
  logger.log(
    'info',
    'retrieval',
    `[retrieval] index ready: ${passages} passages, ${mode}, files added=${added} changed=${changed} removed=${removed} unchanged=${unchanged} skipped=${report.skipped.length} in ${tookMs} ms`,
  );
}

/**
 * @throws DlgforgeError `knowledge` when the folder is missing, holds no supported file, or no readable
 *   text; `retrieval` when the index or the embedder fails; `cancelled` when `signal` aborts. The index
 *   that was there before stays valid in every case.
 */
export async function buildIndex(
  options: IndexOptions,
  onProgress: Report = () => undefined,
): Promise<IndexReport> {
  const startedAt = Date.now();
  const folder = await scanKnowledge(options.knowledgeDir);
  await mkdir(options.persistDir, { recursive: true });
  const lock = await lockIndex({
    persistDir: options.persistDir,
    logger: options.logger,
    clock: systemClock,
    signal: options.signal,
  });
  const pool = new DocumentPool();
  let tables: PassageTables | null = null;
  try {
    tables = await PassageTables.connect(options.persistDir);
    const report = await update(options, folder, tables, pool, onProgress, startedAt);
    onProgress({
      phase: 'done',
      done: report.unchanged + report.added + report.changed,
      total: folder.files.length,
      passages: report.passages,
    });
    logReport(options.logger, report);
    return report;
  } finally {
    tables?.close();
    await pool.close();
    await lock.release();
  }
}
