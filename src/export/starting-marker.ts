/** Decides what an output folder is before anything is written to it. */
import { join } from 'node:path';
import { DlgforgeError } from '../kernel/errors.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { Logger } from '../kernel/logger.ts';
import { LEDGER_FILE, type RowSettings } from './dataset-rows.ts';
import { foreignPrefixes, type ProjectedStore, restoreLedger, sizeOf } from './existing-lines.ts';
import { type Marker, markerPath, readMarker, writeMarker } from './marker.ts';
import type { StepHook } from './write-conversations.ts';

export interface ProjectionOptions extends RowSettings {
  readonly datasetId: DatasetId;
  readonly store: ProjectedStore;
  readonly logger?: Logger;
  readonly onStep?: StepHook;
}

/**
 * The marker that the work starts from: the folder's own, or a new one for a folder that has none.
 * @throws DlgforgeError `output` when the folder belongs to another dataset, or to another store.
 */
export async function startingMarker(options: ProjectionOptions): Promise<Marker> {
  const found = await readMarker(options.outputDir);
  if (found === null) return await takeOver(options);
  if (found.datasetId !== options.datasetId) throw otherDataset(options, found.datasetId);
  await requireCommit(options, found.commitSeq);
  return found;
}

/** A folder without a marker: new, written by 0.1.0, or ours with the marker deleted. */
async function takeOver(options: ProjectionOptions): Promise<Marker> {
  const { outputDir, store, datasetId } = options;
  if ((await sizeOf(join(outputDir, LEDGER_FILE))) === 0) await restoreLedger(outputDir, store, datasetId);
  const prefix = await foreignPrefixes(outputDir, store, datasetId);
  const marker: Marker = {
    datasetId,
    state: (await firstCommitAfter(options, 0)) === null ? 'ready' : 'rebuilding',
    commitSeq: 0,
    conversations: 0,
    bytes: prefix,
    prefix,
    judged: null,
  };
  await writeMarker(outputDir, marker);
  return marker;
}

async function firstCommitAfter(options: ProjectionOptions, after: number): Promise<number | null> {
  for await (const { commitSeq } of options.store.committed(options.datasetId, after)) return commitSeq;
  return null;
}

/** Files that are ahead of the store belong to another store: following this one would lose rows. */
export async function requireCommit(options: ProjectionOptions, commitSeq: number): Promise<void> {
  if (commitSeq === 0 || (await firstCommitAfter(options, commitSeq - 1)) === commitSeq) return;
  throw new DlgforgeError(
    'output',
    `the files in ${options.outputDir} hold ${commitSeq} commits, more than the store knows of: it was deleted, restored ` +
      'from an older copy, or is another one. Point dlgforge to the store that made them, or choose a new `saving.output_dir`.',
    { details: { outputDir: options.outputDir, commitSeq } },
  );
}

function otherDataset(options: ProjectionOptions, found: DatasetId): DlgforgeError {
  return new DlgforgeError(
    'output',
    `${markerPath(options.outputDir)} says that this folder belongs to the dataset ${found}, not to ${options.datasetId}. ` +
      'Choose another `saving.output_dir`, or the configuration that made the folder.',
  );
}
