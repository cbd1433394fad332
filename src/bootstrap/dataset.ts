/** The dataset of an output folder: found by its marker, made when the folder is new, old ledgers taken in. */
import { join } from 'node:path';
import { LEDGER_FILE } from '../export/dataset-rows.ts';
import { readLedger } from '../export/legacy-ledger.ts';
import { readMarker } from '../export/marker.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { type DatasetId, datasetId, freshHexId } from '../kernel/ids.ts';
import type { Logger } from '../kernel/logger.ts';
import type { Dataset, LeaseGrant, Store } from '../ports/store.ts';
import { isProcessAlive, processIdentity } from '../store/process-identity.ts';

/** After this long without a sign of life the hold of a process on another machine is taken over. */
const LEASE_TTL_MS = 30_000;
const RENEW_MS = 10_000;

/** The id in the folder's marker; without one, that of `known`, or a fresh one. */
export async function datasetIdOf(outputDir: string, known: DatasetId | null): Promise<DatasetId> {
  const marker = await readMarker(outputDir);
  if (marker !== null && known !== null && marker.datasetId !== known) {
    throw new DlgforgeError(
      'resume',
      `${outputDir} belongs to another dataset than the run that is to be resumed. Set saving.output_dir to the folder of that run, or to a new folder.`,
    );
  }
  return marker?.datasetId ?? known ?? datasetId(freshHexId());
}

/**
 * Opens the dataset; the questions of a ledger that 0.1.0 left in the folder become its memory.
 * @param notAdopted keys of questions that belong to conversations that are still being written.
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
    logger.log('warn', 'run', `[ledger] ${LEDGER_FILE} line ${number} is not an entry (${reason}); it stays in the file and counts for nothing`);
  }
  const entries = ledger.entries.filter((entry) => !notAdopted.has(entry.key));
  await store.adopt(id, entries);
  if (entries.length > 0) logger.log('info', 'run', `[ledger] ${entries.length} earlier questions taken in from ${LEDGER_FILE}`);
  return { ...dataset, adopted: true };
}

export interface DatasetHold {
  readonly lease: LeaseGrant;
  release(): Promise<void>;
}

/**
 * Only one process writes into a dataset.
 * @throws DlgforgeError `held` naming the process that has it.
 */
export async function holdDataset(store: Store, id: DatasetId, command: string, lost: (error: unknown) => void): Promise<DatasetHold> {
  const result = await store.acquireLease(`dataset/${id}`, processIdentity(command), LEASE_TTL_MS, isProcessAlive);
  if (result.type === 'held') {
    const { host, pid, command: theirs, sinceMs } = result.holder;
    throw new DlgforgeError(
      'held',
      `The process ${pid} on ${host} (\`${theirs}\`, since ${new Date(sinceMs).toISOString()}) is already writing this dataset. Wait for it, or stop it with \`kill ${pid}\` and run this command again: nothing is lost.`,
    );
  }
  const { lease } = result;
  const timer = setInterval(() => {
    store.renewLease(lease).catch(lost);
  }, RENEW_MS);
  return {
    lease,
    async release() {
      clearInterval(timer);
      await store.releaseLease(lease);
    },
  };
}
