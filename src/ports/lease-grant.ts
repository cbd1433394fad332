import type { Epoch } from '../kernel/ids.ts';

/** What a holder of a lease writes under. */
export interface LeaseGrant {
  readonly name: string;
  readonly epoch: Epoch;
}
