/**
 * From an output folder, ours or 0.1.0's, to a finished export folder: what can be wrong is found first, a
 * first pass over the rows decides what goes where, a second writes it, and the whole is swapped in.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { datasetCard } from '../../export/dataset/card.ts';
import { type DatasetStats, StatsCollector, statsFile } from '../../export/dataset/dataset-stats.ts';
import {
  checkedTarget,
  EXPORT_MARKER,
  type ExportFolderOptions,
  readExportMarker,
  replaceExport,
  type SwapStep,
} from '../../export/dataset/export-folder.ts';
import { type ExportPlan, planExport, type Split } from '../../export/dataset/export-plan.ts';
import {
  type ExportFormat,
  FormatWriters,
  requireFormats,
  type WrittenFile,
} from '../../export/dataset/format-writers.ts';
import { toolDefinitions } from '../../export/dataset/openai-row.ts';
import { drawPlots, plotTitle } from '../../export/dataset/plots.ts';
import { copyRunStates } from '../../export/dataset/run-states.ts';
import { emptySource, SourceRows } from '../../export/dataset/source-rows.ts';
import { naming } from '../../export/output-error.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { isProcessAlive, processIdentity } from '../../store/process-identity.ts';
import { coverageOf, runFactsOf, type RunFacts, usageStats } from '../dataset-facts.ts';
import type { Project } from '../project.ts';
import { cardFacts } from './card-facts.ts';
import { type ExportPlaces, forbidden, type Paths, pathsOf } from './export-places.ts';

export { EXPORT_MARKER as EXPORT_MARKER_FILE, type ExportPlaces, readExportMarker };

export interface BuildOptions extends ExportPlaces {
  /** @default those of the configuration; without any `sharegpt` */
  readonly formats?: readonly ExportFormat[];
  /** @default `saving.hf_push.source_file` */
  readonly sourceFile?: string;
  /** Without statistics, plots and run states, whatever the configuration says. @default false */
  readonly bare?: boolean;
  readonly stop?: AbortSignal;
  /** For tests: see `ExportFolderOptions`. */
  readonly onStep?: (step: SwapStep) => Promise<void> | void;
}

export interface BuiltExport {
  readonly folder: string;
  /** Everything in it but the marker, by path, with `/`. */
  readonly files: readonly string[];
  readonly formats: readonly ExportFormat[];
  /** The file that was read, relative to the source folder. */
  readonly sourceFile: string;
  readonly records: number;
  readonly splits: Readonly<Partial<Record<Split, number>>>;
  /** Conversations by language, as the rows name it. */
  readonly languages: Readonly<Record<string, number>>;
  /** Rows that a filter left out, by reason. */
  readonly leftOut: ExportPlan['leftOut'];
  /** Null when neither statistics nor plots are wanted. */
  readonly stats: DatasetStats | null;
  /** Any row is marked as made by the rehearsal backend. */
  readonly rehearsal: boolean;
  /** Lines of the source that are no row. */
  readonly skippedLines: number;
  /** Texts in which half a surrogate pair was replaced by U+FFFD. */
  readonly replacedTexts: number;
}

/** @throws DlgforgeError when there is nothing to export, or no place for it; nothing is written. */
export async function checkExport(project: Project, places: ExportPlaces): Promise<void> {
  requireFormats(formatsOf(project), project.config.saving.export.compression);
  await using source = await openSource(project, places);
  await checkedTarget(places.exportDir, forbidden(project, places));
  pathsOf(project, source.file);
}

/** Whether any conversation that an export would hold comes from the rehearsal backend. */
export async function isRehearsal(
  project: Project,
  places: Pick<ExportPlaces, 'sourceDir'>,
): Promise<boolean> {
  await using source = await openSource(project, places);
  return (await planOf(project, source)).rehearsal;
}

/** @throws DlgforgeError `output`, `held`, `usage`, `cancelled`; the export that was there is then as it was. */
export async function buildExport(project: Project, options: BuildOptions): Promise<BuiltExport> {
  const formats = options.formats ?? formatsOf(project);
  requireFormats(formats, project.config.saving.export.compression);
  await using source = await openSource(project, options);
  const paths = pathsOf(project, source.file);
  const folderOptions = folderOptionsOf(project, options);
  await checkedTarget(options.exportDir, folderOptions.never);
  const plan = await planOf(project, source, options.stop);
  reportPlan(project, source.file, plan);
  const { folder, result } = await replaceExport(folderOptions, (next) =>
    fill({ project, options, formats, source, plan, paths, folder: next }),
  );
  return {
    folder,
    formats,
    sourceFile: source.file,
    splits: Object.fromEntries(plan.splits),
    languages: Object.fromEntries([...plan.languages].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    leftOut: plan.leftOut,
    skippedLines: plan.badLineCount,
    replacedTexts: plan.replacedTexts,
    ...result,
  };
}

/** Without any in the configuration: what 0.1.0 exported. */
function formatsOf({ config }: Project): readonly ExportFormat[] {
  const formats = [...new Set(config.saving.export.formats)];
  return formats.length === 0 ? ['sharegpt'] : formats;
}

const openSource = (
  { config }: Project,
  { sourceDir, sourceFile }: Pick<BuildOptions, 'sourceDir' | 'sourceFile'>,
): Promise<SourceRows> =>
  SourceRows.open({
    sourceDir,
    sourceFile: sourceFile ?? config.saving.hf_push.source_file,
    columns: config.saving.output_columns,
  });

async function planOf({ config }: Project, source: SourceRows, stop?: AbortSignal): Promise<ExportPlan> {
  const { export: settings, hf_push: push } = config.saving;
  const plan = await planExport(
    { rows: (onBadLine) => stoppable(source.rows(onBadLine), stop) },
    {
      minScore: settings.min_score,
      keepUnjudged: settings.keep_unjudged,
      languages: settings.languages,
      turnsMin: settings.min_turns,
      turnsMax: settings.max_turns,
    },
    settings.splits,
    settings.seed,
  );
  if (plan.records > 0) return plan;
  if (plan.sourceRows > 0) throw allLeftOut(plan);
  const [bad] = plan.badLines;
  if (bad === undefined) throw emptySource(source.file, 'the source folder');
  throw new DlgforgeError(
    'output',
    `No line of ${source.file} is a conversation: line ${bad.line}: ${bad.reason}. Set saving.hf_push.source_file to a ShareGPT file of the dataset (now ${push.source_file}), and saving.output_columns to the names of its columns.`,
  );
}

const allLeftOut = ({ leftOut, sourceRows }: ExportPlan): DlgforgeError => {
  const reasons = Object.entries(leftOut).flatMap(([reason, count]) =>
    count === 0 ? [] : [`${count} by ${LEFT_OUT[reason as keyof typeof LEFT_OUT]}`],
  );
  return new DlgforgeError(
    'output',
    `The filters leave out all ${sourceRows} conversations (${reasons.join(', ')}). Loosen them (saving.export), or add saving.export.keep_unjudged: true where nothing was judged.`,
  );
};

const LEFT_OUT = {
  language: 'language',
  turns: 'number of turns',
  score: 'score',
  unjudged: 'having no score',
} as const;

async function* stoppable<T>(rows: AsyncIterable<T>, stop: AbortSignal | undefined): AsyncGenerator<T> {
  for await (const row of rows) {
    if (stop?.aborted === true)
      throw new DlgforgeError(
        'cancelled',
        'Stopped while the export was made. The export before it is as it was.',
      );
    yield row;
  }
}

function reportPlan({ logger }: Project, file: string, plan: ExportPlan): void {
  for (const { line, reason } of plan.badLines)
    logger.log('warn', 'export', `[export] ${file} line ${line} is left out: ${reason}`);
  const more = plan.badLineCount - plan.badLines.length;
  if (more > 0) logger.log('warn', 'export', `[export] ${more} more lines of ${file} are left out`);
  if (plan.replacedTexts > 0) {
    logger.log(
      'warn',
      'export',
      `[export] half a surrogate pair was replaced by U+FFFD in ${plan.replacedTexts} texts of ${file}`,
    );
  }
}

function folderOptionsOf(project: Project, options: BuildOptions): ExportFolderOptions {
  const { host, pid, processKey } = processIdentity('');
  return {
    target: options.exportDir,
    never: forbidden(project, options),
    builder: { host, pid, processKey },
    isAlive: (builder) => isProcessAlive({ ...builder, command: '', sinceMs: 0 }),
    ...(options.onStep === undefined ? {} : { onStep: options.onStep }),
  };
}

interface Filling {
  readonly project: Project;
  readonly options: BuildOptions;
  readonly formats: readonly ExportFormat[];
  readonly source: SourceRows;
  readonly plan: ExportPlan;
  readonly paths: Paths;
  readonly folder: string;
}

type Filled = Pick<BuiltExport, 'files' | 'records' | 'stats' | 'rehearsal'>;

async function fill(filling: Filling): Promise<Filled> {
  const { project, options, plan, paths, folder, source } = filling;
  const push = project.config.saving.hf_push;
  const wanted = options.bare === true ? { stats: null, plots: null } : paths;
  const collector = wanted.stats === null && wanted.plots === null ? null : new StatsCollector();
  const written = await writeRows(filling, collector);
  const runs = await runFactsOf(project, options.sourceDir);
  const stats =
    collector?.stats({
      sourceFile: posix.basename(source.file),
      coverage: await coverageOf(project, options.sourceDir),
      usage: usageOf(project, runs),
    }) ?? null;
  const files = [...written.values()].flat().map(({ path }) => path);
  if (stats !== null && wanted.stats !== null) {
    await put(folder, wanted.stats, statsFile(stats));
    files.push(wanted.stats);
  }
  const plots: { path: string; title: string }[] = [];
  if (stats !== null && wanted.plots !== null) {
    for (const [name, svg] of await drawPlots(stats)) {
      const path = `${wanted.plots}/${name}`;
      await put(folder, path, svg);
      plots.push({ path, title: plotTitle(name) });
    }
  }
  const states =
    push.include_run_state && options.bare !== true
      ? await copyRunStates(options.sourceDir, folder, [project.root, options.sourceDir, homedir()])
      : [];
  await put(
    folder,
    'README.md',
    datasetCard(cardFacts({ project, plan, written, runs, stats, statsFile: wanted.stats, plots, states })),
  );
  return {
    files: [...files, ...plots.map(({ path }) => path), ...states, 'README.md'],
    records: plan.records,
    stats,
    rehearsal: plan.rehearsal,
  };
}

const usageOf = ({ config }: Project, runs: RunFacts | null): DatasetStats['usage'] =>
  runs === null ? null : usageStats(runs, config.saving.export.prices);

async function writeRows(
  { project, options, formats, source, plan, paths, folder }: Filling,
  collector: StatsCollector | null,
): Promise<ReadonlyMap<ExportFormat, readonly WrittenFile[]>> {
  const { export: settings, output_columns: columns } = project.config.saving;
  const writers = await FormatWriters.open(formats, plan.splits.keys(), {
    folder,
    sourceFile: paths.source,
    isSplit: settings.splits.validation + settings.splits.test > 0,
    columns,
    hasJudge: plan.hasJudge,
    tools: toolDefinitions(plan.tools),
    compression: settings.compression,
    shardBytes: settings.shard_mb * 1_000_000,
  });
  try {
    for await (const { row, position } of stoppable(source.rows(), options.stop)) {
      const split = plan.splitOf(position);
      if (split === null) continue;
      collector?.add(row);
      await writers.add(row, split);
    }
    return await writers.close();
  } catch (error) {
    writers.abandon();
    throw error;
  }
}

async function put(folder: string, path: string, text: string): Promise<void> {
  const file = join(folder, path);
  await naming(file, async () => {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  });
}
