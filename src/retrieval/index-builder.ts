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
import { mkdir } from 'node:fs/promises';
import { systemClock } from '../kernel/clock.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { canonicalJson } from '../kernel/hash.ts';
import { DocumentPool } from './document-pool.ts';
import { type KnowledgeFolder, scanKnowledge } from './documents.ts';
import { writeGeneration } from './index-generation.ts';
import { lockIndex } from './index-lock.ts';
import { type Manifest, readManifest, writeManifest } from './index-manifest.ts';
import { assertChunking, type IndexOptions, identityOf } from './index-options.ts';
import { planUpdate } from './index-plan.ts';
import { tablesInUse } from './index-readers.ts';
import { type IndexProgress, type IndexReport, logReport, reportOf } from './index-report.ts';
import { PassageTables } from './passage-table.ts';

export type { IndexOptions } from './index-options.ts';
export type { IndexProgress, IndexReport } from './index-report.ts';

/** File times are coarse: what changed this shortly before a check may change again with equal times. */
const RACY_MS = 2_000;

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

/** Removes tables that neither the manifest nor a living reader needs. */
async function sweep(tables: PassageTables, persistDir: string, live: string | null): Promise<void> {
  const inUse = await tablesInUse(persistDir);
  for (const name of await tables.list()) if (name !== live && !inUse.has(name)) await tables.drop(name);
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
  report: (progress: IndexProgress) => void,
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
    manifest = await writeGeneration({ options, tables, plan, base, pool, report });
    await sweep(tables, options.persistDir, manifest.table);
  }
  return reportOf(manifest.files, folder, plan, manifest, Date.now() - startedAt);
}

async function liveTable(persistDir: string): Promise<string | null> {
  const state = await readManifest(persistDir);
  return state.type === 'present' ? state.manifest.table : null;
}

/**
 * @throws DlgforgeError `config` for impossible chunking; `knowledge` when the folder is missing, holds no supported file, or no readable
 *   text; `retrieval` when the index or the embedder fails; `cancelled` when `signal` aborts. The index
 *   that was there before stays valid in every case.
 */
export async function buildIndex(
  options: IndexOptions,
  onProgress: (progress: IndexProgress) => void = () => undefined,
): Promise<IndexReport> {
  assertChunking(options);
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
