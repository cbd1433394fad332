/** Who may write into a dataset: one process at a time. */
import { DlgforgeError } from '../kernel/errors.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { HolderInfo, LeaseGrant, Store } from '../ports/store.ts';
import { isProcessAlive, processIdentity } from '../store/process-identity.ts';

/** After this long without a sign of life the hold of a process on another machine is taken over. */
const LEASE_TTL_MS = 30_000;
const RENEW_MS = 10_000;

const leaseName = (id: DatasetId): string => `dataset/${id}`;

export interface DatasetHold {
  readonly lease: LeaseGrant;
  release(): Promise<void>;
}

/**
 * Only one process writes into a dataset.
 * @throws DlgforgeError `held` naming the process that has it.
 */
export async function holdDataset(
  store: Store,
  id: DatasetId,
  command: string,
  lost: (error: unknown) => void,
): Promise<DatasetHold> {
  const result = await store.acquireLease(
    leaseName(id),
    processIdentity(command),
    LEASE_TTL_MS,
    isProcessAlive,
  );
  if (result.type === 'held') {
    throw new DlgforgeError(
      'held',
      `${holderText(result.holder)} is already writing this dataset. Wait for it, or stop it with \`kill ${result.holder.pid}\` and run this command again: nothing is lost.`,
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

/** The process that writes the dataset now; null when nobody does. Takes nothing. */
export function livingHolder(store: Store, id: DatasetId): Promise<HolderInfo | null> {
  return store.leaseHolder(leaseName(id), processIdentity(''), LEASE_TTL_MS, isProcessAlive);
}

export const holderText = ({ host, pid, command, sinceMs }: HolderInfo): string =>
  `The process ${pid} on ${host} (\`${command}\`, since ${new Date(sinceMs).toISOString()})`;
