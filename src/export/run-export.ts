/** The files of one run in a folder of their own: the same layout, only that run's rows. */
import { mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { DlgforgeError } from '../kernel/errors.ts';
import type { DatasetId, RunId } from '../kernel/ids.ts';
import type { Store } from '../ports/store.ts';
import { CONVERSATIONS_FOLDER, LINE_FILES, type RowSettings, RUN_STATE_FOLDER } from './dataset-rows.ts';
import { besideOf, replaceFile, syncFolder } from './durable-file.ts';
import { LineFiles, sizesOf } from './line-files.ts';
import { codeOf, naming, outputError } from './output-error.ts';
import { shownVerdicts } from './shown-verdicts.ts';
import { writeConversations } from './write-conversations.ts';

export interface RunExportOptions extends RowSettings {
  readonly datasetId: DatasetId;
  readonly runId: RunId;
  readonly store: Pick<Store, 'committed' | 'verdicts'>;
}

const STAMP_FILE = '.dlgforge-run-export.json';

/**
 * Writes into `outputDir`; exporting the same run there again replaces the files. Gives the number of
 * conversations.
 * @throws DlgforgeError `output` when the folder holds anything but an earlier export of this run.
 */
export async function exportRun(options: RunExportOptions): Promise<number> {
  const { outputDir } = options;
  await naming(outputDir, () => mkdir(outputDir, { recursive: true }));
  await claim(options);
  for (const name of [CONVERSATIONS_FOLDER, RUN_STATE_FOLDER]) {
    await naming(join(outputDir, name), () => mkdir(join(outputDir, name), { recursive: true }));
  }
  const conversations = await writeLines(options);
  for (const name of LINE_FILES) {
    const path = join(outputDir, name);
    await naming(path, () => rename(besideOf(path), path));
  }
  await syncFolder(outputDir);
  return conversations;
}

async function writeLines(options: RunExportOptions): Promise<number> {
  const { outputDir, store, datasetId, runId } = options;
  const empty = sizesOf(() => 0);
  await using files = await LineFiles.open((name) => besideOf(join(outputDir, name)), empty);
  await files.cutBack(empty);
  let conversations = 0;
  const rows = store.committed(datasetId, 0, { runId });
  const settings = { ...options, verdicts: await shownVerdicts(store, datasetId) };
  for await (const batch of writeConversations(rows, settings, files, () => undefined)) {
    conversations += batch.conversations;
  }
  return conversations;
}

/** Makes the folder this run's export folder, or refuses. */
async function claim(options: RunExportOptions): Promise<void> {
  const path = join(options.outputDir, STAMP_FILE);
  const stamp = `${JSON.stringify({ format: 1, dataset_id: options.datasetId, run_id: options.runId })}\n`;
  const found = await stampAt(path);
  if (found === stamp) return;
  const entries = await naming(options.outputDir, () => readdir(options.outputDir));
  if (found !== null || entries.length > 0) {
    throw new DlgforgeError(
      'output',
      `${options.outputDir} is not empty and holds no earlier export of the run ${options.runId}. Choose an empty or a new folder.`,
    );
  }
  await replaceFile(path, stamp);
}

async function stampAt(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw outputError(path, error);
  }
}
