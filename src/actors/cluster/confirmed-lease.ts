/**
 * Whether a leader is still the leader. A node that was out of contact may have been replaced, and whoever
 * replaced it may be gone again, so that no heartbeat tells of it: then only the store knows. Owns in which
 * contact the lease was found to be this node's.
 */
import { isDlgforgeError } from '../../kernel/errors.ts';
import type { Membership } from '../../ports/membership.ts';
import type { LeaseGrant, Store } from '../../ports/store.ts';

export interface ConfirmedLeaseOptions {
  readonly membership: Pick<Membership, 'contacts' | 'isWarm'>;
  readonly store: Pick<Store, 'renewLease'>;
  readonly lease: LeaseGrant;
  /** Another has it. */
  readonly onLost: () => void;
}

/** To be asked again and again; the store is asked once in each contact, and again when it did not answer. */
export function confirmedLease({ membership, store, lease, onLost }: ConfirmedLeaseOptions): () => boolean {
  let confirmedIn = membership.contacts();
  let isAsking = false;

  const ask = async (): Promise<void> => {
    const contact = membership.contacts();
    isAsking = true;
    try {
      await store.renewLease(lease);
      confirmedIn = contact;
    } catch (error) {
      // A store that is away says nothing about the lease.
      if (isDlgforgeError(error, 'stale_epoch')) onLost();
    } finally {
      isAsking = false;
    }
  };

  return () => {
    if (!membership.isWarm()) return false;
    if (membership.contacts() === confirmedIn) return true;
    if (!isAsking) void ask();
    return false;
  };
}
