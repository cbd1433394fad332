/** Who may write into a dataset: one process at a time. */
import { DlgforgeError } from '../kernel/errors.ts';
import type { DatasetId } from '../kernel/ids.ts';
import { CLUSTER_HOST, type HolderInfo, type LeaseGrant, type Store } from '../ports/store.ts';
import { isProcessAlive, processIdentity } from '../store/process-identity.ts';

/** After this long without a sign of life the hold of a process on another machine is taken over. */
const LEASE_TTL_MS = 30_000;
const RENEW_MS = 10_000;

export const leaseName = (id: DatasetId): string => `dataset/${id}`;

export interface DatasetHold {
  readonly lease: LeaseGrant;
  /** Idempotent. */
  release(): Promise<void>;
}

/** Who holds, and how it is known whether another holder is alive. */
export interface Holder {
  readonly info: HolderInfo;
  readonly isAlive: (holder: HolderInfo) => boolean;
}

/** A process that runs by itself. A dataset that a cluster writes is the cluster's, whoever of its nodes is alive. */
export const thisProcess = (command: string): Holder => ({
  info: processIdentity(command),
  isAlive: isProcessAlive,
});

/**
 * Only one process writes into a dataset.
 * @throws DlgforgeError `held` naming the process that has it.
 */
export async function holdDataset(
  store: Store,
  id: DatasetId,
  holder: Holder,
  lost: (error: unknown) => void,
): Promise<DatasetHold> {
  const result = await store.acquireLease(leaseName(id), holder.info, LEASE_TTL_MS, holder.isAlive);
  if (result.type === 'held') {
    throw new DlgforgeError(
      'held',
      result.holder.host === CLUSTER_HOST
        ? `The node ${result.holder.processKey} of a cluster leads a run that writes this dataset. \`dlgforge runs list\` shows it, \`dlgforge attach <run-id>\` follows it, \`dlgforge runs cancel <run-id>\` ends it: nothing is lost.`
        : `${holderText(result.holder)} is already writing this dataset. Wait for it, or stop it with \`kill ${result.holder.pid}\` and run this command again: nothing is lost.`,
    );
  }
  const { lease } = result;
  const timer = setInterval(() => {
    store.renewLease(lease).catch(lost);
  }, RENEW_MS);
  let released = false;
  return {
    lease,
    async release() {
      clearInterval(timer);
      if (released) return;
      released = true;
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
