/** The formats of a dataset beside its files: `exports` in the output folder. Made by `export`, and by a run at its end. */
import { join } from 'node:path';
import type { ExportFormat } from '../../export/dataset/format-writers.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Project } from '../project.ts';
import type { RunReport } from '../run-report.ts';
import { buildExport, type BuiltExport } from './build-export.ts';

export const FORMATS_FOLDER = 'exports';

export interface FormatOptions {
  /** @default those of the configuration */
  readonly formats?: readonly ExportFormat[];
  /** Absolute; the output folder, or that of one run. */
  readonly sourceDir: string;
  /** Absolute. @default `exports` in the source folder */
  readonly folder?: string;
  readonly stop?: AbortSignal;
}

/** Replaces the folder whole. @throws DlgforgeError as `buildExport` does. */
export async function writeFormats(
  project: Project,
  { formats, sourceDir, folder, stop }: FormatOptions,
): Promise<Omit<BuiltExport, 'stats'>> {
  const { stats: _, ...built } = await buildExport(project, {
    sourceDir,
    exportDir: folder ?? join(sourceDir, FORMATS_FOLDER),
    sourceFile: sourceFileOf(project),
    bare: true,
    ...(formats === undefined ? {} : { formats }),
    ...(stop === undefined ? {} : { stop }),
  });
  return built;
}

/** What is published is judged unless somebody says otherwise; what stays here is whatever there is. */
function sourceFileOf({ config }: Project): string {
  const { source_file: file } = config.saving.hf_push;
  return file === 'conversations_sharegpt_judged.jsonl' ? 'conversations_sharegpt.jsonl' : file;
}

/** The report with what became of `saving.export.formats`. The run is complete whatever comes of it. Never throws. */
export async function writeFormatsAfterRun(project: Project, report: RunReport): Promise<RunReport> {
  const { formats } = project.config.saving.export;
  if (formats.length === 0 || report.status !== 'completed') return report;
  try {
    const { folder, records, ...built } = await writeFormats(project, { sourceDir: project.folders.output });
    return { ...report, exports: { type: 'written', folder, formats: built.formats, records } };
  } catch (error) {
    const message = messageOf(error);
    project.logger.log('warn', 'export', `[export] the formats were not written: ${message}`);
    return { ...report, exports: { type: 'failed', message, formats } };
  }
}
