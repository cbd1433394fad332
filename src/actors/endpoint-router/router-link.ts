/**
 * The way to the cluster's router, whichever node leads it. Owns what this node knows of the leader, and
 * the messages that no router has acknowledged.
 *
 * 1. The epoch never falls: a router with a lower one than was heard of is neither asked nor believed.
 * 2. A message is sent until it is acknowledged or the router that it was meant for has been replaced. The
 *    next router needs none of them: it hears what is out by adoption.
 * 3. Messages that wait are bounded; the oldest gives way, and the lease ends what it would have ended.
 * 4. A timer runs only while something waits.
 */
import type { Clock } from '../../kernel/clock.ts';
import type { Leader } from '../../ports/membership.ts';
import { type ActorRef, actorRef, type Messenger, type ReplyTo } from '../runtime/types.ts';
import { ROUTER_PATH, type RouterMessage } from './router-messages.ts';

export interface RouterLinkOptions {
  readonly messenger: Messenger;
  readonly clock: Clock;
  /** The living leader, as membership knows it. */
  readonly leaderOf: () => Leader | null;
  /** The returned function ends it. */
  readonly onLeaderChange: (listener: () => void) => () => void;
  readonly inContact: () => boolean;
}

interface Unacknowledged {
  readonly epoch: number;
  readonly make: (replyTo: ReplyTo<'done'>) => RouterMessage;
  readonly resolve: (isAcknowledged: boolean) => void;
}

/** How often what waits is looked at. */
export const BEAT_MS = 200;
const ACKNOWLEDGE_MS = 2_000;
const UNACKNOWLEDGED_MAX = 100_000;

export class RouterLink {
  readonly #options: RouterLinkOptions;
  readonly #movedListeners = new Set<(leader: Leader) => void>();
  readonly #beatListeners = new Set<() => void>();
  readonly #unacknowledged = new Set<Unacknowledged>();
  /** Those whose last try has failed. */
  readonly #unsent = new Set<Unacknowledged>();
  readonly #stopListening: () => void;
  #epoch = -1;
  #isAway = false;
  #lookedAtMs = 0;
  #awayMs = 0;
  #cancelBeat: (() => void) | null = null;
  #isClosed = false;

  constructor(options: RouterLinkOptions) {
    this.#options = options;
    this.#stopListening = options.onLeaderChange(() => {
      if (this.findLeader() !== null) this.#beat();
    });
  }

  /** The highest epoch heard of. */
  get epoch(): number {
    return this.#epoch;
  }

  /** How long altogether no router could be asked: there was none, or this node was out of contact. */
  get awayMs(): number {
    this.look();
    return this.#awayMs;
  }

  /** Measures; to be called every few seconds at least. */
  look(): void {
    const nowMs = this.#options.clock.now();
    if (this.#isAway) this.#awayMs += Math.max(0, nowMs - this.#lookedAtMs);
    this.#lookedAtMs = nowMs;
    this.#isAway = this.findLeader() === null || !this.#options.inContact();
  }

  /** Who leads now; listeners hear of a new one before the caller does. */
  findLeader(): Leader | null {
    const leader = this.#options.leaderOf();
    if (leader === null || leader.epoch < this.#epoch || this.#isClosed) return null;
    if (leader.epoch > this.#epoch) {
      this.#epoch = leader.epoch;
      for (const listener of this.#movedListeners) listener(leader);
    }
    return leader;
  }

  routerOf({ node }: Leader): ActorRef<RouterMessage> {
    return actorRef(node, ROUTER_PATH);
  }

  /** Hears of every router with a higher epoch, before anything else is made of it. */
  onMoved(listener: (leader: Leader) => void): () => void {
    this.#movedListeners.add(listener);
    return () => void this.#movedListeners.delete(listener);
  }

  /** Called every `BEAT_MS`, and when a leader appears, until the returned function is called. */
  onBeat(listener: () => void): () => void {
    this.#beatListeners.add(listener);
    this.#schedule();
    return () => void this.#beatListeners.delete(listener);
  }

  /** Resolves with true when the router has it, with false when it no longer matters. */
  deliver(make: Unacknowledged['make']): Promise<boolean> {
    return new Promise((resolve) => {
      const message = { epoch: this.#epoch, make, resolve };
      this.#unacknowledged.add(message);
      if (this.#unacknowledged.size > UNACKNOWLEDGED_MAX) this.#dropOldest();
      this.#send(message);
    });
  }

  /** The leader, when there is one and this node is in contact; null when it took until `untilMs`, or was cancelled. */
  async ready(untilMs: number, signal: AbortSignal): Promise<Leader | null> {
    for (;;) {
      if (signal.aborted || this.#isClosed) return null;
      const leader = this.findLeader();
      if (leader !== null && this.#options.inContact()) return leader;
      if (this.#options.clock.now() >= untilMs) return null;
      await this.#nextBeat(signal);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopListening();
    this.#cancelBeat?.();
    this.#cancelBeat = null;
    for (const message of this.#unacknowledged) this.#settle(message, false);
    for (const listener of this.#beatListeners) listener();
  }

  #nextBeat(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        end();
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const end = this.onBeat(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  #send(message: Unacknowledged): void {
    this.#unsent.delete(message);
    const leader = this.findLeader();
    if (message.epoch < this.#epoch || this.#isClosed) return this.#settle(message, false);
    if (leader === null) return this.#sendLater(message);
    this.#options.messenger.ask(this.routerOf(leader), message.make, { timeoutMs: ACKNOWLEDGE_MS }).then(
      () => this.#settle(message, true),
      () => this.#sendLater(message),
    );
  }

  #sendLater(message: Unacknowledged): void {
    if (!this.#unacknowledged.has(message)) return;
    this.#unsent.add(message);
    this.#schedule();
  }

  #settle(message: Unacknowledged, isAcknowledged: boolean): void {
    this.#unacknowledged.delete(message);
    this.#unsent.delete(message);
    message.resolve(isAcknowledged);
  }

  #dropOldest(): void {
    for (const oldest of this.#unacknowledged) return this.#settle(oldest, false);
  }

  #schedule(): void {
    if (this.#cancelBeat !== null || this.#isClosed) return;
    this.#cancelBeat = this.#options.clock.schedule(BEAT_MS, () => {
      this.#cancelBeat = null;
      this.#beat();
      if (this.#beatListeners.size + this.#unsent.size > 0) this.#schedule();
    });
  }

  #beat(): void {
    this.look();
    const unsent = [...this.#unsent];
    for (const message of unsent) this.#send(message);
    for (const listener of this.#beatListeners) listener();
  }
}
