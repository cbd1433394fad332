/** The files of a cluster run, written to any folder of this machine from the store alone. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { openProjection } from '../../export/projection.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { silentLogger } from '../../kernel/logger.ts';
import type { RunRecord, Store } from '../../ports/store.ts';
import { inputsBase } from '../dialogue-settings.ts';
import { answersOf, type RunStateStatus, writeStateOf } from '../files.ts';
import { configOf } from '../runs.ts';
import { holdFolder } from './folder-hold.ts';
import { keepWriting } from './keep-writing.ts';

export interface RunFiles {
  /** Something was committed. */
  wake(): void;
  /** Writes what is left. @throws DlgforgeError `output`. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

export interface RunFilesOptions {
  readonly store: Store;
  readonly run: RunRecord;
  /** Absolute. */
  readonly outputDir: string;
  readonly command: string;
  readonly onWarning: (text: string) => void;
}

/** @throws DlgforgeError `output`, or `held` when another process writes there. */
export async function openRunFiles(options: RunFilesOptions): Promise<RunFiles> {
  const { store, run, outputDir, command, onWarning } = options;
  await mkdir(outputDir, { recursive: true }).catch((error: unknown) => {
    throw new DlgforgeError('output', `${outputDir} cannot be made: ${messageOf(error)}`);
  });
  await using undo = new AsyncDisposableStack();
  const folder = await holdFolder(store, outputDir, command);
  undo.defer(() => folder.release());
  const config = configOf(run);
  const projection = await openProjection({
    outputDir,
    // As in a project, whose output folder lies in its root: the same bytes there and here.
    projectRoot: dirname(outputDir),
    columns: config.saving.output_columns,
    journalAnswers: answersOf(store),
    datasetId: run.datasetId,
    store,
    logger: silentLogger,
  });
  undo.defer(() => projection.close());
  let told = '';
  const writer = keepWriting(
    () => projection.catchUp(),
    (error) => {
      const text = messageOf(error);
      if (text !== told) onWarning(`the files are not up to date: ${text}`);
      told = text;
    },
  );
  undo.defer(() => writer.stop());
  const stack = undo.move();
  return {
    wake: () => writer.wake(),
    async finish() {
      await writer.stop();
      await projection.catchUp();
      const { status } = (await store.getRun(run.id)) ?? run;
      const state: RunStateStatus = status === 'completed' ? 'completed' : 'in_progress';
      const dataset = { id: run.datasetId };
      const inputs = inputsBase(config);
      await writeStateOf({ store, dataset, runId: run.id, inputs, outputDir, status: state });
    },
    close: () => stack.disposeAsync(),
  };
}
