/** The runs of a project for whoever looks at them; reads only, also while a run is going on. */
import { type EarlierCounts, withEarlier } from '../actors/earlier-counts.ts';
import { outputDir } from '../config/paths.ts';
import { samplesPerLanguage } from '../config/roles.ts';
import type { Config } from '../config/schema.ts';
import { runStatePath } from '../export/run-state-file.ts';
import { type DatasetId, runId } from '../kernel/ids.ts';
import type { CallTotals, HolderInfo, RunRecord, RunStatus, Store } from '../ports/store.ts';
import { noSuchRun } from '../store/store-errors.ts';
import { livingHolder } from './hold.ts';
import type { Project } from './project.ts';
import { type LanguageReport, languageReport } from './run-report.ts';

export interface RunSummary {
  readonly id: string;
  /** A run whose process is gone counts as interrupted. */
  readonly status: RunStatus;
  readonly datasetId: string;
  readonly languages: readonly LanguageReport[];
  readonly turns: number;
  readonly calls: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** True when any answer came from the rehearsal backend. */
  readonly rehearsal: boolean;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly error: string | null;
}

export interface RunDetails extends RunSummary {
  /** Position among the runs of its dataset, from 0. */
  readonly ordinal: number;
  readonly models: readonly CallTotals[];
  /** What decides about its rows; a resume must have the same. */
  readonly settings: Readonly<Record<string, string>>;
  /** The process that writes the dataset now. */
  readonly holder: HolderInfo | null;
  /** Null where nobody knows it: a cluster's runs are written wherever somebody follows them. */
  readonly outputDir: string | null;
  readonly runState: string | null;
  readonly logsDir: string | null;
  readonly store: string;
}

/** The runs of a store, newest first; only these, when ids are given. */
export async function runsOf(store: Store, ids?: ReadonlySet<string>): Promise<readonly RunSummary[]> {
  const records = (await store.listRuns()).filter(({ id }) => ids === undefined || ids.has(id));
  const driven = await drivenRuns(store, records);
  const summaries: RunSummary[] = [];
  for (const record of records) {
    summaries.push(summaryOf(record, driven, await numbersOf(store, record)));
  }
  return summaries;
}

/** Where a project keeps the files of its runs; null for a cluster's runs seen from outside of any project. */
export type RunPlace = Pick<Project, 'root' | 'folders'> | null;

/** @throws DlgforgeError when there is no such run. */
export async function detailsOf(store: Store, id: string, place: RunPlace): Promise<RunDetails> {
  const record = await store.getRun(runId(id));
  if (record === null) throw noSuchRun(id);
  const ofDataset = (await store.listRuns()).filter(({ datasetId }) => datasetId === record.datasetId);
  const numbers = await numbersOf(store, record);
  const folder = place === null ? null : outputDir(configOf(record), place.root);
  return {
    ...summaryOf(record, await drivenRuns(store, ofDataset), numbers),
    ordinal: record.ordinal,
    models: numbers.models,
    settings: record.fingerprint,
    holder: await livingHolder(store, record.datasetId),
    outputDir: folder,
    runState: folder === null ? null : runStatePath(folder, record.id),
    logsDir: place?.folders.logs ?? null,
    store: store.description,
  };
}

/** The configuration that a run was last driven with, without its secrets. */
export const configOf = (record: RunRecord): Config => record.config as Config;

/** Those that go on now or are paused, newest first. */
export async function runsThatAreOn(store: Store): Promise<readonly RunRecord[]> {
  const records = await store.listRuns();
  const driven = await drivenRuns(store, records);
  return records.filter(({ id }) => driven.has(id));
}

/** Clocks of this machine and of the database may differ by this much. */
const CLOCK_SKEW_MS = 5_000;

/**
 * The runs that a living process drives. A hold is on a dataset and a process drives one run, which it has
 * marked as running after it took the hold; others that are marked so were left behind.
 */
async function drivenRuns(store: Store, records: readonly RunRecord[]): Promise<ReadonlySet<string>> {
  // A cluster's run goes on as soon as a node is there.
  const driven = new Set<string>((await store.activeRuns()).map(({ id }) => id));
  const running = records.filter(({ id, status }) => status === 'running' && !driven.has(id));
  for (const [datasetId, group] of Map.groupBy(running, (record): DatasetId => record.datasetId)) {
    const holder = await livingHolder(store, datasetId);
    const [latest] = group.toSorted((a, b) => b.updatedAtMs - a.updatedAtMs);
    if (holder === null || latest === undefined) continue;
    if (latest.updatedAtMs + CLOCK_SKEW_MS >= holder.sinceMs) driven.add(latest.id);
  }
  return driven;
}

interface Numbers {
  readonly languages: readonly LanguageReport[];
  readonly models: readonly CallTotals[];
}

async function numbersOf(store: Store, record: RunRecord): Promise<Numbers> {
  const [stored, models] = await Promise.all([store.runCounts(record.id), store.callTotals(record.id)]);
  const { earlier = [] } = record.plan as { readonly earlier?: readonly EarlierCounts[] };
  const counts = withEarlier(stored, earlier);
  const config = configOf(record);
  const languages = config.run.target_languages.map((language, languageIndex) =>
    languageReport(
      language,
      samplesPerLanguage(config),
      counts.find((row) => row.languageIndex === languageIndex),
    ),
  );
  return { languages, models };
}

function summaryOf(
  record: RunRecord,
  driven: ReadonlySet<string>,
  { languages, models }: Numbers,
): RunSummary {
  const sum = (of: (row: CallTotals) => number): number => models.reduce((total, row) => total + of(row), 0);
  const leftBehind = record.status === 'running' && !driven.has(record.id);
  return {
    id: record.id,
    status: leftBehind ? 'interrupted' : record.status,
    datasetId: record.datasetId,
    languages,
    turns: languages.reduce((total, language) => total + language.turns, 0),
    calls: sum((row) => row.calls),
    promptTokens: sum((row) => row.promptTokens),
    cachedTokens: sum((row) => row.cachedTokens),
    completionTokens: sum((row) => row.completionTokens),
    rehearsal: models.some((row) => row.rehearsal),
    createdAt: new Date(record.createdAtMs).toISOString(),
    updatedAt: new Date(record.updatedAtMs).toISOString(),
    error: record.error,
  };
}
