/** `dlgforge stats`: the figures of a dataset, or of one run, as its card has them; reads only. */
import type { RecordSource } from '../dialogue/record-parts.ts';
import { parsePythonJson, pythonJson } from '../dialogue/python-json.ts';
import { DEFAULT_COLUMNS, judgeColumn, sharegptRow } from '../dialogue/sharegpt-record.ts';
import { recordSource } from '../export/dataset-rows.ts';
import { coverageStats, type DatasetStats, StatsCollector } from '../export/dataset/dataset-stats.ts';
import { sanitiseRow } from '../export/dataset/sanitise.ts';
import { type SourceOptions, SourceRows } from '../export/dataset/source-rows.ts';
import type { JournalAnswers } from '../export/journal-answers.ts';
import { shownVerdicts } from '../export/shown-verdicts.ts';
import { DlgforgeError, isDlgforgeError } from '../kernel/errors.ts';
import { type DatasetId, runId } from '../kernel/ids.ts';
import type { Store } from '../ports/store.ts';
import { knownDocuments } from '../retrieval/known-documents.ts';
import { noSuchRun } from '../store/store-errors.ts';
import type { OpenedStore } from './cluster/runs-store.ts';
import { coverageOf, type RunFacts, runFacts, usageStats } from './dataset-facts.ts';
import { ownDatasetId } from './dataset.ts';
import type { Project } from './project.ts';
import { configOf, runsOf } from './runs.ts';

export interface StatsReport {
  /** Null for the whole dataset. */
  readonly runId: string | null;
  /** Where the rows come from. */
  readonly place: string;
  readonly stats: DatasetStats;
  /** Lines that are no rows. */
  readonly badLines: number;
}

type Opened = Pick<OpenedStore, 'store' | 'project'>;

/** @throws DlgforgeError when there is nothing to count. */
export async function statsOf(opened: Opened, run: string | null): Promise<StatsReport> {
  if (run !== null) return await statsOfRun(opened, run);
  const { project, store } = opened;
  if (project === null)
    throw new DlgforgeError(
      'usage',
      'Name the configuration of the dataset, or one run with --run <run-id>.',
    );
  const collector = new StatsCollector();
  const { output } = project.folders;
  const facts = store === null ? null : await runFacts(store, output);
  const read = await fileRows(project, collector);
  if (read !== null)
    return { ...read, runId: null, stats: await withBesides(read.file, project, collector, facts) };
  const datasetId = store === null ? null : await ownDatasetId(store, output);
  if (store === null || datasetId === null) throw nothingThere(output);
  const used = await addRows(store, collector, datasetId, null);
  const coverage = coverageStats(used, await knownDocuments(project.folders.index));
  const usage = facts === null ? null : usageStats(facts, project.config.saving.export.prices);
  const stats = collector.stats({ sourceFile: '', coverage, usage });
  if (stats.records === 0) throw nothingThere(output);
  return { runId: null, place: store.description, badLines: 0, stats };
}

/** Every conversation of a folder, judged or not. */
const ALL_ROWS = 'conversations_sharegpt.jsonl';

/** What is exported is what is counted: the same file, by the same rules. Null when there is none. */
async function fileRows(
  project: Project,
  collector: StatsCollector,
): Promise<{ readonly file: string; readonly place: string; readonly badLines: number } | null> {
  const { saving } = project.config;
  const sourceDir = project.folders.output;
  const columns = saving.output_columns;
  const opened =
    (await openRows({ sourceDir, sourceFile: saving.hf_push.source_file, columns })) ??
    // The exported file is that of judged conversations, and nobody has judged these.
    (await openRows({ sourceDir, sourceFile: ALL_ROWS, columns }));
  if (opened === null) return null;
  await using rows = opened;
  let badLines = 0;
  for await (const { row } of rows.rows(() => (badLines += 1))) collector.add(row);
  return { file: rows.file, place: `${rows.file} in ${sourceDir}`, badLines };
}

/** Null for a file that is not there, or empty: another one, or the store, may know more. */
async function openRows(options: SourceOptions): Promise<SourceRows | null> {
  try {
    return await SourceRows.open(options);
  } catch (error) {
    if (isDlgforgeError(error, 'output')) return null;
    throw error;
  }
}

async function withBesides(
  sourceFile: string,
  project: Project,
  collector: StatsCollector,
  facts: RunFacts | null,
): Promise<DatasetStats> {
  const coverage = await coverageOf(project, project.folders.output);
  const usage = facts === null ? null : usageStats(facts, project.config.saving.export.prices);
  return collector.stats({ sourceFile, coverage, usage });
}

async function statsOfRun({ store, project }: Opened, id: string): Promise<StatsReport> {
  const record = store === null ? null : await store.getRun(runId(id));
  if (store === null || record === null) throw noSuchRun(id);
  const collector = new StatsCollector();
  const used = await addRows(store, collector, record.datasetId, id);
  const known = project === null ? null : await knownDocuments(project.folders.index);
  const prices = (project?.config ?? configOf(record)).saving.export?.prices ?? {};
  const facts = { runs: await runsOf(store, new Set([id])), totals: await store.callTotals(record.id) };
  const coverage = used.passages.size + used.documents.size === 0 ? null : coverageStats(used, known);
  const stats = collector.stats({ sourceFile: '', coverage, usage: usageStats(facts, prices) });
  return { runId: id, place: store.description, badLines: 0, stats };
}

const NO_ANSWERS: JournalAnswers = () => Promise.resolve(new Map());

/** Rows as the files have them, with the verdicts that the files show; what their questions rest on. */
async function addRows(
  store: Store,
  collector: StatsCollector,
  datasetId: DatasetId,
  run: string | null,
): Promise<{ readonly passages: ReadonlySet<string>; readonly documents: ReadonlySet<string> }> {
  const [passages, documents] = [new Set<string>(), new Set<string>()];
  const verdicts = await shownVerdicts(store, datasetId);
  for await (const conversation of store.committed(datasetId, 0, run === null ? {} : { runId: runId(run) })) {
    if (conversation.status !== 'committed') continue;
    const source = await recordSource(conversation, { verdicts, journalAnswers: NO_ANSWERS });
    collector.add(sanitiseRow({ known: columnsOf(source), unknown: {} }).row);
    for (const { passageId, source: document } of conversation.ledger) {
      if (passageId !== '') passages.add(passageId);
      if (document !== '') documents.add(document);
    }
  }
  return { passages, documents };
}

/** As a reader of the file gets them. */
function columnsOf(source: RecordSource): Readonly<Record<string, unknown>> {
  const judge = judgeColumn(source);
  const row = { ...sharegptRow(source, DEFAULT_COLUMNS), ...(judge === null ? {} : { judge }) };
  return parsePythonJson(pythonJson(row)) as Readonly<Record<string, unknown>>;
}

const nothingThere = (output: string): DlgforgeError =>
  new DlgforgeError(
    'output',
    `There is nothing to count: no conversation is in ${output}, and the store knows of none. \`dlgforge run\` makes conversations; \`dlgforge stats --run <run-id>\` counts a run whose files are elsewhere.`,
  );
