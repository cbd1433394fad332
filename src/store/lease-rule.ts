import type { HolderInfo } from '../ports/store.ts';

/**
 * When a lease may be taken over. On the holder's own host its process can be looked at, and the nodes of a
 * cluster, which share a host name of their own, watch each other; of any other holder only the silence can
 * be judged.
 */
export function holderIsDead(
  holder: HolderInfo,
  asker: HolderInfo,
  silentMs: number,
  ttlMs: number,
  isAlive: (holder: HolderInfo, silentMs: number) => boolean,
): boolean {
  return holder.host === asker.host ? !isAlive(holder, silentMs) : silentMs > ttlMs;
}
