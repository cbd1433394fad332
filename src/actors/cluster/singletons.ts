/**
 * One of the cluster leads what there may be only one of: the endpoint router, and each run. Every node
 * that may lead contends; the lease in the store decides, and its epoch fences whoever has been replaced (I2).
 *
 * Owns: one node's part in one singleton, from watching to leading and back.
 *
 * Invariants: 1. a node leads only under a grant, and under one at a time; 2. a leader is announced after
 * its actors are there and withdrawn before they stop, and the lease is released after they have stopped;
 * 3. a leader that learns of a newer epoch ends at once; 4. a store that is away for all ends nothing and
 * throws nothing; who has lost it alone leads nothing.
 */
import { type Clock, delay } from '../../kernel/clock.ts';
import { isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { uniform } from '../../kernel/random.ts';
import type { Membership } from '../../ports/membership.ts';
import type { HolderInfo, LeaseGrant, Store } from '../../ports/store.ts';
import { Alone, hasLostStore } from './store-sight.ts';

export interface Leadership {
  /** Stops the actors; resolves when all have ended. Called once, also when they have ended by themselves. */
  stop(): Promise<void>;
  /** `done`: there is nothing left to lead. `lost`: a write was refused, since another leads. */
  readonly ended: Promise<'done' | 'lost' | Error>;
}

export interface ContendTimings {
  /** How often a watching node looks whether somebody leads. */
  readonly lookMs: number;
  readonly renewMs: number;
  /** Nodes that see a leader go try at different moments within this. */
  readonly spreadMs: number;
  /** After a leadership that could not begin or has failed: doubles up to the second. */
  readonly backoffMs: readonly [min: number, max: number];
}

export const DEFAULT_CONTEND_TIMINGS: ContendTimings = {
  lookMs: 1_000,
  renewMs: 2_000,
  spreadMs: 100,
  backoffMs: [1_000, 30_000],
};

export interface ContendOptions {
  /** What others find the leader by. */
  readonly name: string;
  /** Singletons that write into the same thing share a lease. @default the name */
  readonly leaseName?: string;
  readonly membership: Membership;
  readonly store: Pick<Store, 'acquireLease' | 'renewLease' | 'releaseLease'>;
  /** This node; `processKey` is its name in the cluster. */
  readonly holder: HolderInfo;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * Resolves when the actors can be reached. Rejecting with `stale_epoch` means that another leads.
   * `signal` aborts when the leadership is to end, so that a start that takes long can be given up.
   */
  start(lease: LeaseGrant, signal: AbortSignal): Promise<Leadership>;
  readonly timings?: Partial<ContendTimings>;
}

export interface Contender {
  /** What this node leads with; null while it does not. */
  readonly leads: LeaseGrant | null;
  /** Withdraws, stops the actors, releases the lease; then another can take it. Idempotent. */
  stop(): Promise<void>;
}

/** For a holder that is no node of the cluster: longer than the pauses between its signs of life. */
const LEASE_TTL_MS = 30_000;
/** Whoever has renewed within this is at work, though it is not heard; leaders renew every two seconds. */
const RENEWED_MS = 2_500;
/** The first looks at a lease that nobody leads under come quicker: it may be free in a moment. */
const LOOK_MIN_MS = 50;
const STORE_LOOK_MS = 1_000;
/** A store that is away must not keep a node that has to go. */
const RELEASE_WAIT_MS = 5_000;

/**
 * Leases that this process's nodes have or ask for. That one's own node is alive says nothing about a grant
 * to it: an answer may have been lost. Only one contender of a node asks for a lease at a time, so when
 * it meets its own node as the holder, nobody leads under that grant.
 */
const inHand = new WeakMap<Membership, Set<string>>();

export function contend(options: ContendOptions): Contender {
  return new SingletonContender(options);
}

type End = 'done' | 'lost' | 'stopped' | Error;

class SingletonContender implements Contender {
  readonly #options: ContendOptions;
  readonly #timings: ContendTimings;
  readonly #leaseName: string;
  readonly #inHand: Set<string>;
  readonly #stopping = new AbortController();
  readonly #finished: Promise<void>;
  #leads: LeaseGrant | null = null;
  #endPause: () => void = () => undefined;
  #draws = 0;
  #failures = 0;
  #lookMs = LOOK_MIN_MS;

  constructor(options: ContendOptions) {
    const { membership, name, leaseName = name, timings } = options;
    this.#options = options;
    this.#timings = { ...DEFAULT_CONTEND_TIMINGS, ...timings };
    this.#leaseName = leaseName;
    this.#inHand = inHand.get(membership) ?? new Set();
    inHand.set(membership, this.#inHand);
    const forget = membership.onChange(({ type }) => {
      if (type !== 'joined') this.#endPause();
    });
    this.#finished = this.#contend().finally(forget);
  }

  get leads(): LeaseGrant | null {
    return this.#leads;
  }

  stop(): Promise<void> {
    this.#stopping.abort();
    this.#endPause();
    return this.#finished;
  }

  get #isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #contend(): Promise<void> {
    for (;;) {
      await this.#untilNobodyLeads();
      const lease = this.#isStopped ? null : await this.#acquire();
      const end = lease === null ? null : await this.#leadUnder(lease);
      if (this.#isStopped || end === 'done') return;
      if (end instanceof Error) await this.#backOff();
      else if (end === null || end === 'lost') await this.#lookAgainLater();
    }
  }

  // Watching.

  async #untilNobodyLeads(): Promise<void> {
    let hasWaited = false;
    while (!this.#isStopped && !this.#mayTry()) {
      hasWaited = true;
      await this.#pauseUntilChange(this.#options.membership.isWarm() ? this.#timings.lookMs : LOOK_MIN_MS);
      if (!this.#mayTry()) continue;
      await this.#pause(this.#draw() * this.#timings.spreadMs);
    }
    if (hasWaited) this.#lookMs = LOOK_MIN_MS;
  }

  #mayTry(): boolean {
    const { membership, name } = this.#options;
    const isFree = membership.isWarm() && membership.leaderOf(name) === null;
    return isFree && !hasLostStore(membership, membership.node);
  }

  /** Somebody has the lease and does not lead yet, or is about to release it, or the store is away. */
  async #lookAgainLater(): Promise<void> {
    await this.#pauseUntilChange(this.#lookMs);
    this.#lookMs = Math.min(this.#lookMs * 2, this.#timings.lookMs);
  }

  async #backOff(): Promise<void> {
    const [minMs, maxMs] = this.#timings.backoffMs;
    await this.#pause(Math.min(minMs * 2 ** this.#failures, maxMs) * (0.5 + this.#draw() / 2));
    this.#failures += 1;
  }

  /** The lease, when it could be had. */
  async #acquire(): Promise<LeaseGrant | null> {
    if (this.#inHand.has(this.#leaseName)) return null;
    this.#inHand.add(this.#leaseName);
    const asked = this.#ask();
    const lease = await orAborted(asked, this.#stopping.signal);
    // A store that is away answers late; a node that has to go does not wait for it.
    if (this.#isStopped) void asked.then((late) => this.#giveBack(late));
    else if (lease === null) this.#inHand.delete(this.#leaseName);
    return this.#isStopped ? null : lease;
  }

  /** Never throws (invariant 4). */
  async #ask(): Promise<LeaseGrant | null> {
    const { store, holder, clock, name } = this.#options;
    try {
      const asker = { ...holder, sinceMs: clock.now() };
      const isAlive = (other: HolderInfo, silentMs: number): boolean => this.#isAlive(other, silentMs);
      const result = await store.acquireLease(this.#leaseName, asker, LEASE_TTL_MS, isAlive);
      return result.type === 'granted' ? result.lease : null;
    } catch (error) {
      this.#log('warn', `cannot ask for the lease of ${name}, and will again: ${messageOf(error)}`);
      return null;
    }
  }

  #isAlive({ processKey }: HolderInfo, silentMs: number): boolean {
    const { membership } = this.#options;
    if (processKey === membership.node) return false;
    if (!membership.isWarm()) return true;
    if (membership.isAlive(processKey)) return !hasLostStore(membership, processKey);
    // Parts of a network that do not hear each other would take everything from each other for ever.
    return silentMs < RENEWED_MS && membership.departed(processKey)?.hasEnded !== true;
  }

  // Leading.

  async #leadUnder(lease: LeaseGrant): Promise<End> {
    const { name, clock, membership } = this.#options;
    const sinceMs = clock.now();
    this.#leads = lease;
    // The store may have been away for long: what held when the lease was asked for need not hold now.
    const end = membership.inContact() ? await this.#lead(lease) : 'stopped';
    this.#leads = null;
    this.#log('info', `this node leads ${name} (epoch ${lease.epoch}) no longer: ${endText(end)}`);
    await this.#giveBack(end === 'lost' ? null : lease);
    if (clock.now() - sinceMs > this.#timings.backoffMs[1]) this.#failures = 0;
    return end;
  }

  async #lead(lease: LeaseGrant): Promise<End> {
    const over = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, over.signal]);
    const forget = this.#superseded(lease, () => over.abort());
    void this.#keepRenewing(lease, over);
    void this.#endWhenAlone(over);
    try {
      const leadership = await this.#options.start(lease, signal);
      return await this.#serve(leadership, lease, signal);
    } catch (error) {
      if (isDlgforgeError(error, 'stale_epoch')) return 'lost';
      return errorOf(error);
    } finally {
      forget();
      over.abort();
    }
  }

  /** Invariant 2. */
  async #serve(leadership: Leadership, lease: LeaseGrant, signal: AbortSignal): Promise<End> {
    if (!signal.aborted) this.#announce(lease);
    const end = await orAborted(leadership.ended, signal).catch(errorOf);
    this.#announce(null);
    await leadership.stop();
    if (end !== null) return end;
    return this.#isStopped ? 'stopped' : 'lost';
  }

  #announce(lease: LeaseGrant | null): void {
    const { membership, name } = this.#options;
    const own = membership.members().find(({ card }) => card.node === membership.node);
    const others = own?.card.leads.filter((lead) => lead.name !== name) ?? [];
    membership.announce({ leads: lease === null ? others : [...others, { name, epoch: lease.epoch }] });
    if (lease !== null) this.#log('info', `this node leads ${name} (epoch ${lease.epoch})`);
  }

  /** Invariant 3: calls `end` when somebody leads under a newer epoch. */
  #superseded(lease: LeaseGrant, end: () => void): () => void {
    const { membership, name } = this.#options;
    const look = (): void => {
      if ((membership.leaderOf(name)?.epoch ?? 0) > lease.epoch) end();
    };
    look();
    return membership.onChange(look);
  }

  async #keepRenewing(lease: LeaseGrant, over: AbortController): Promise<void> {
    const { clock, membership, store, name } = this.#options;
    let isLeftOut = false;
    for (;;) {
      await delay(clock, this.#timings.renewMs, over.signal);
      if (over.signal.aborted) return;
      // Whom the others cannot reach leaves them the time to take over, and then asks whether they have.
      isLeftOut = !isLeftOut && !membership.inContact();
      if (isLeftOut) continue;
      try {
        await store.renewLease(lease);
      } catch (error) {
        if (isDlgforgeError(error, 'stale_epoch')) return over.abort();
        this.#log(
          'warn',
          `the lease of ${name} cannot be renewed, which ends nothing yet: ${messageOf(error)}`,
        );
      }
    }
  }

  /** Others have the store that this node cannot reach: one of them is to lead. */
  async #endWhenAlone(over: AbortController): Promise<void> {
    const { clock, membership } = this.#options;
    const alone = new Alone(membership);
    while (!over.signal.aborted) {
      if (alone.look()) return over.abort();
      await delay(clock, STORE_LOOK_MS, over.signal);
    }
  }

  async #giveBack(lease: LeaseGrant | null): Promise<void> {
    if (lease !== null) await this.#release(lease);
    this.#inHand.delete(this.#leaseName);
  }

  async #release(lease: LeaseGrant): Promise<void> {
    const { clock, store, name } = this.#options;
    const waited = new AbortController();
    const releasing = store.releaseLease(lease).catch((error: unknown) => {
      this.#log(
        'warn',
        `the lease of ${name} is not released, others wait for this node's end: ${messageOf(error)}`,
      );
    });
    await Promise.race([releasing, delay(clock, RELEASE_WAIT_MS, waited.signal)]);
    waited.abort();
  }

  // Waiting.

  async #pauseUntilChange(delayMs: number): Promise<void> {
    if (this.#isStopped) return;
    const change = new AbortController();
    this.#endPause = () => change.abort();
    await delay(this.#options.clock, delayMs, change.signal);
    this.#endPause = () => undefined;
  }

  #pause(delayMs: number): Promise<void> {
    return delay(this.#options.clock, delayMs, this.#stopping.signal);
  }

  #draw(): number {
    const { membership, name } = this.#options;
    this.#draws += 1;
    return uniform([membership.node, name, this.#draws]);
  }

  #log(level: 'info' | 'warn', text: string): void {
    this.#options.logger.log(level, 'cluster', `[cluster] ${text}`);
  }
}

/** What `promise` becomes, or null when `signal` aborts first. Leaves nothing behind on either. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const abort = (): void => resolve(null);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

const errorOf = (error: unknown): Error => (error instanceof Error ? error : new Error(messageOf(error)));

function endText(end: End): string {
  if (end instanceof Error)
    return `it failed: ${messageOf(end)}; another node, or this one after a pause, goes on`;
  return { done: 'it is done', lost: 'another node has taken over', stopped: 'it was given up' }[end];
}
