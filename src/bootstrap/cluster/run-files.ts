/** The files of a cluster run, written to any folder of this machine from the store alone. */
import { mkdir } from 'node:fs/promises';
import { openProjection } from '../../export/projection.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { silentLogger } from '../../kernel/logger.ts';
import type { RunRecord, Store } from '../../ports/store.ts';
import { answersOf, type RunStateStatus, writeStateOf } from '../files.ts';
import { configOf } from '../runs.ts';
import { inputsBase } from '../dialogue-settings.ts';
import { holdFolder } from './folder-hold.ts';

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
}

const PAUSE_MS = 300;

/** @throws DlgforgeError `output`, or `held` when another process writes there. */
export async function openRunFiles({ store, run, outputDir, command }: RunFilesOptions): Promise<RunFiles> {
  await mkdir(outputDir, { recursive: true }).catch((error: unknown) => {
    throw new DlgforgeError('output', `${outputDir} cannot be made: ${messageOf(error)}`);
  });
  const folder = await holdFolder(store, outputDir, command);
  const config = configOf(run);
  const projection = await openProjection({
    outputDir,
    projectRoot: outputDir,
    columns: config.saving.output_columns,
    journalAnswers: answersOf(store),
    datasetId: run.datasetId,
    store,
    logger: silentLogger,
  }).catch(async (error: unknown) => {
    await folder.release();
    throw error;
  });
  let timer: NodeJS.Timeout | null = null;
  let underWay: Promise<void> = Promise.resolve();
  const write = (): Promise<void> => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    // A pass that failed is made good by the last one, which reports.
    underWay = underWay.catch(() => undefined).then(() => projection.catchUp());
    return underWay;
  };
  return {
    wake() {
      timer ??= setTimeout(() => void write().catch(() => undefined), PAUSE_MS);
    },
    async finish() {
      await write();
      const { status } = (await store.getRun(run.id)) ?? run;
      const state: RunStateStatus = status === 'completed' ? 'completed' : 'in_progress';
      const dataset = { id: run.datasetId };
      await writeStateOf({
        store,
        dataset,
        runId: run.id,
        inputs: inputsBase(config),
        outputDir,
        status: state,
      });
    },
    async close() {
      if (timer !== null) clearTimeout(timer);
      await underWay.catch(() => undefined);
      await projection.close();
      await folder.release();
    },
  };
}
