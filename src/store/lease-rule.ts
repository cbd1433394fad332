import { CLUSTER_HOST, type HolderInfo } from '../ports/store.ts';

/**
 * When a lease may be taken over. On the holder's own host its process can be looked at, and the nodes of a
 * cluster watch each other; of any other holder only the silence can be judged.
 */
export function holderIsDead(
  holder: HolderInfo,
  asker: HolderInfo,
  silentMs: number,
  ttlMs: number,
  isAlive: (holder: HolderInfo) => boolean,
): boolean {
  const isKnown = holder.host === asker.host || holder.host === CLUSTER_HOST;
  return isKnown ? !isAlive(holder) : silentMs > ttlMs;
}
