/** The dataset of an output folder: found by its marker, made when the folder is new, old ledgers taken in. */
import { join } from 'node:path';
import { LEDGER_FILE } from '../export/dataset-rows.ts';
import { readLedger } from '../export/legacy-ledger.ts';
import { readMarker } from '../export/marker.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { type DatasetId, datasetId, freshHexId } from '../kernel/ids.ts';
import type { Logger } from '../kernel/logger.ts';
import type { Dataset, Store } from '../ports/store.ts';

/**
 * The id in the folder's marker; without one, that of the run, the configured one, or a fresh one.
 * @param known the dataset of the run that is resumed.
 * @param configured `saving.dataset_id`; '' for none.
 */
export async function datasetIdOf(
  outputDir: string,
  known: DatasetId | null,
  configured: string,
): Promise<DatasetId> {
  const marker = await readMarker(outputDir);
  const found = marker?.datasetId ?? known;
  if (configured !== '' && found !== null && found !== configured) {
    throw new DlgforgeError(
      'config',
      `saving.dataset_id is ${configured}, but ${outputDir} holds the dataset ${found}. Leave saving.dataset_id empty, or set saving.output_dir to another folder.`,
    );
  }
  if (marker !== null && known !== null && marker.datasetId !== known) {
    throw new DlgforgeError(
      'resume',
      `${outputDir} belongs to another dataset than the run that is to be resumed. Set saving.output_dir to the folder of that run, or to a new folder.`,
    );
  }
  return found ?? datasetId(configured === '' ? freshHexId() : configured);
}

/** The dataset that an output folder belongs to, also when its marker was deleted; null when there is none. */
export async function ownDatasetId(store: Store, outputDir: string): Promise<DatasetId | null> {
  const marker = await readMarker(outputDir);
  return marker?.datasetId ?? (await store.findDataset(outputDir))?.id ?? null;
}

/**
 * Opens the dataset; the questions of a ledger that 0.1.0 left in the folder become its memory.
 * @param notAdopted keys of questions of conversations that are still being written: their lines count for
 *   coverage, the questions count once those conversations are committed (B8).
 */
export async function openDataset(
  store: Store,
  id: DatasetId,
  outputDir: string,
  logger: Logger,
  notAdopted: ReadonlySet<string> = new Set(),
): Promise<Dataset> {
  const dataset = await store.openDataset(id, outputDir);
  if (dataset.adopted) return dataset;
  const ledger = await readLedger(join(outputDir, LEDGER_FILE));
  for (const { number, reason } of ledger.badLines) {
    logger.log(
      'warn',
      'run',
      `[ledger] ${LEDGER_FILE} line ${number} is not an entry (${reason}); it stays in the file and counts for nothing`,
    );
  }
  const entries = ledger.entries.map((entry) =>
    entry.key !== null && notAdopted.has(entry.key) ? { ...entry, key: null } : entry,
  );
  await store.adopt(id, entries);
  if (entries.length > 0)
    logger.log('info', 'run', `[ledger] ${entries.length} earlier questions taken in from ${LEDGER_FILE}`);
  return { ...dataset, adopted: true };
}
