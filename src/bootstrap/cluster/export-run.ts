/** `dlgforge export <run-id>`: the files of a run of a cluster, made on any machine from the store alone. */
import { dirname } from 'node:path';
import type { Environment } from '../../config/environment.ts';
import { exportRun } from '../../export/run-export.ts';
import { runId } from '../../kernel/ids.ts';
import { noSuchRun } from '../../store/store-errors.ts';
import { inputsBase } from '../dialogue-settings.ts';
import type { ExportReport } from '../export.ts';
import { answersOf, writeStateOf } from '../files.ts';
import { configOf } from '../runs.ts';
import { openStoreOfRuns, type StoreFlags } from './runs-store.ts';

/** @throws DlgforgeError `resume` when there is no such run, `output` when its files cannot be written there. */
export async function exportRunFrom(
  flags: StoreFlags,
  environment: Environment,
  id: string,
  outputDir: string,
): Promise<ExportReport> {
  const { store, close } = await openStoreOfRuns(flags, environment);
  try {
    const record = (await store?.getRun(runId(id))) ?? null;
    if (store === null || record === null) throw noSuchRun(id);
    const config = configOf(record);
    const conversations = await exportRun({
      outputDir,
      // As in a project, whose output folder lies in its root: the same bytes there and here.
      projectRoot: dirname(outputDir),
      columns: config.saving.output_columns,
      journalAnswers: answersOf(store),
      datasetId: record.datasetId,
      runId: record.id,
      store,
    });
    const status = record.status === 'completed' ? 'completed' : 'in_progress';
    const dataset = { id: record.datasetId };
    await writeStateOf({ store, dataset, runId: record.id, inputs: inputsBase(config), outputDir, status });
    return { datasetId: record.datasetId, runs: [record.id], conversations, outputDir };
  } finally {
    await close();
  }
}
