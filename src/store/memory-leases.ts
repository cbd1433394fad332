import type { Clock } from '../kernel/clock.ts';
import { epoch } from '../kernel/ids.ts';
import type { HolderInfo, LeaseGrant, LeaseResult } from '../ports/store.ts';
import { staleLease } from './store-errors.ts';
import { holderIsDead } from './lease-rule.ts';

interface Lease {
  epoch: number;
  holder: HolderInfo | null;
  renewedAtMs: number;
}

/** Owns named leases in memory. Epochs only grow, also over releases. */
export class MemoryLeases {
  readonly #leases = new Map<string, Lease>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  acquire(
    name: string,
    holder: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): LeaseResult {
    const lease = this.#leases.get(name) ?? { epoch: 0, holder: null, renewedAtMs: 0 };
    const previous = lease.holder;
    const living = this.holder(name, holder, ttlMs, isAlive);
    if (living !== null) return { type: 'held', holder: living };
    const next = { epoch: lease.epoch + 1, holder: { ...holder }, renewedAtMs: this.#clock.now() };
    this.#leases.set(name, next);
    return { type: 'granted', lease: { name, epoch: epoch(next.epoch) }, previous };
  }

  holder(
    name: string,
    asker: HolderInfo,
    ttlMs: number,
    isAlive: (holder: HolderInfo, silentMs: number) => boolean,
  ): HolderInfo | null {
    const lease = this.#leases.get(name);
    if (lease === undefined || lease.holder === null) return null;
    const silentMs = this.#clock.now() - lease.renewedAtMs;
    return holderIsDead(lease.holder, asker, silentMs, ttlMs, isAlive) ? null : { ...lease.holder };
  }

  renew(grant: LeaseGrant): void {
    this.#held(grant).renewedAtMs = this.#clock.now();
  }

  release(grant: LeaseGrant): void {
    const lease = this.#leases.get(grant.name);
    if (lease?.epoch === grant.epoch) lease.holder = null;
  }

  /** @throws DlgforgeError `stale_epoch` when the lease has moved on. */
  check(grant: LeaseGrant): void {
    this.#held(grant);
  }

  #held(grant: LeaseGrant): Lease {
    const lease = this.#leases.get(grant.name);
    if (lease === undefined || lease.holder === null || lease.epoch !== grant.epoch) throw staleLease(grant);
    return lease;
  }
}
