/** `dlgforge export`: the files of a dataset, or of one run of it, made anew from the store. */
import { type RunExportOptions, exportRun } from '../export/run-export.ts';
import { readMarker } from '../export/marker.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { type DatasetId, runId } from '../kernel/ids.ts';
import type { Dataset, RunRecord, Store } from '../ports/store.ts';
import { noSuchRun } from '../store/store-errors.ts';
import { openDataset, ownDatasetId } from './dataset.ts';
import { inputsBase } from './dialogue-settings.ts';
import { projectionOf, rowSettings, writeStateOf } from './files.ts';
import { thisProcess, holdDataset } from './hold.ts';
import type { Project } from './project.ts';
import { openStoreOfProject } from './cluster/runs-store.ts';
import { configOf } from './runs.ts';

export interface ExportOptions {
  /** Null: every run of the dataset. */
  readonly runId: string | null;
  /** For one run alone: an absolute path besides the dataset's own folder. */
  readonly runOutputDir: string | null;
  /** The command line, shown to others that meet our hold. */
  readonly command: string;
}

export interface ExportReport {
  readonly datasetId: string;
  readonly runs: readonly string[];
  readonly conversations: number;
  readonly outputDir: string;
}

/** Whether the output folder is one of ours, which the store can make anew. */
export const hasDataset = async ({ folders }: Project): Promise<boolean> =>
  (await readMarker(folders.output)) !== null;

/** @throws DlgforgeError `held` while a run writes the dataset; `output` when there is nothing, or no place, to write. */
export async function exportFiles(project: Project, options: ExportOptions): Promise<ExportReport> {
  await using cleanUp = new AsyncDisposableStack();
  const opened = await openStoreOfProject(project);
  cleanUp.defer(() => opened.close());
  const { store } = opened;
  if (store === null) throw nothingHere(`this project has no store yet`);
  const { datasetId, runs } = await wanted(store, project, options);
  const hold = await holdDataset(store, datasetId, thisProcess(options.command), (error) =>
    project.logger.log(
      'error',
      'store',
      `[store] the hold on the dataset was not renewed: ${messageOf(error)}`,
    ),
  );
  cleanUp.defer(() => hold.release());
  const only = runs.find(({ id }) => id === options.runId);
  if (only !== undefined && options.runOutputDir !== null) {
    return await exportOneRun(
      { ...rowSettings(project, store), datasetId, runId: only.id, store, outputDir: options.runOutputDir },
      store,
      only,
    );
  }
  return await exportDataset(
    project,
    store,
    await openDataset(store, datasetId, project.folders.output, project.logger),
    runs,
  );
}

interface Wanted {
  readonly datasetId: DatasetId;
  /** Of the dataset, in the order in which they were last touched. */
  readonly runs: readonly RunRecord[];
}

async function wanted(
  store: Store,
  project: Project,
  { runId: id, runOutputDir }: ExportOptions,
): Promise<Wanted> {
  const record = id === null ? null : await store.getRun(runId(id));
  if (id !== null && record === null) throw noSuchRun(id);
  const { output } = project.folders;
  const datasetId = record?.datasetId ?? (await ownDatasetId(store, output));
  const all = await store.listRuns();
  const runs = all
    .filter((run) => run.datasetId === datasetId)
    .toSorted((a, b) => a.updatedAtMs - b.updatedAtMs || a.ordinal - b.ordinal);
  // A folder of 0.1.0 that was judged is a dataset without a run.
  const isKnown = runs.length > 0 || (await store.findDataset(output))?.id === datasetId;
  if (datasetId === null || !isKnown) throw unknownFolder(output, all);
  if (record !== null && runOutputDir === null && runs.length > 1)
    throw severalRuns(record, output, runs.length);
  return { datasetId, runs };
}

async function exportDataset(
  project: Project,
  store: Store,
  dataset: Dataset,
  runs: readonly RunRecord[],
): Promise<ExportReport> {
  const outputDir = project.folders.output;
  const isNew = (await readMarker(outputDir)) === null;
  const projection = await projectionOf(project, store, dataset);
  try {
    // A folder without a marker has been made anew by opening it.
    await (isNew ? projection.catchUp() : projection.rebuild());
  } finally {
    await projection.close();
  }
  for (const run of runs) await writeState(store, dataset, run, outputDir);
  const marker = await readMarker(outputDir);
  return {
    datasetId: dataset.id,
    runs: runs.map(({ id }) => id),
    conversations: marker?.conversations ?? 0,
    outputDir,
  };
}

async function exportOneRun(options: RunExportOptions, store: Store, run: RunRecord): Promise<ExportReport> {
  const { datasetId, outputDir } = options;
  const conversations = await exportRun(options);
  await writeState(store, { id: datasetId }, run, outputDir);
  return { datasetId, runs: [run.id], conversations, outputDir };
}

/** As the run itself left it when it stopped. */
function writeState(
  store: Store,
  dataset: Pick<Dataset, 'id'>,
  run: RunRecord,
  outputDir: string,
): Promise<void> {
  const inputs = inputsBase(configOf(run));
  const status = run.status === 'completed' ? 'completed' : 'in_progress';
  return writeStateOf({ store, dataset, runId: run.id, inputs, outputDir, status });
}

const nothingHere = (why: string): DlgforgeError =>
  new DlgforgeError('output', `There is nothing to export: ${why}. \`dlgforge run\` makes conversations.`);

function unknownFolder(output: string, runs: readonly RunRecord[]): DlgforgeError {
  if (runs.length === 0) return nothingHere('the store holds no run');
  const [latest] = runs;
  return new DlgforgeError(
    'output',
    `The store knows of no dataset in ${output}. If the folder was moved and its marker deleted, name a run of the dataset: ` +
      `--run ${latest?.id} is the latest, and \`dlgforge runs list\` shows all. Otherwise set saving.output_dir to the folder of the dataset.`,
  );
}

function severalRuns(run: RunRecord, output: string, count: number): DlgforgeError {
  return new DlgforgeError(
    'usage',
    `The dataset of the run ${run.id} has ${count} runs, and ${output} holds them all. Add --output-dir <folder> to write this run alone, or leave --run out to write all of them.`,
  );
}
