/** What a build tells while it works, and what it says at the end. */
import type { Logger } from '../kernel/logger.ts';
import type { KnowledgeFolder, SkippedFile } from './documents.ts';
import type { IndexedFile, Manifest } from './index-manifest.ts';
import type { UpdatePlan } from './index-plan.ts';

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

export function reportOf(
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

export function logReport(logger: Logger, report: IndexReport): void {
  for (const { source, reason } of report.skipped)
    logger.log('warn', 'retrieval', `[retrieval] skipped ${source}: ${reason}`);
  const { added, changed, removed, unchanged, passages, mode, tookMs } = report;
  logger.log(
    'info',
    'retrieval',
    `[retrieval] index ready: ${passages} passages, ${mode}, files added=${added} changed=${changed} removed=${removed} unchanged=${unchanged} skipped=${report.skipped.length} in ${tookMs} ms`,
  );
}
