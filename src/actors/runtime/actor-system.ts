/**
 * The actors of one node. Owns the actors without a parent and the nact system that carries them all;
 * the post office owns what is between actors.
 *
 * Invariant: after `stop` nothing is left: no actor, timer, pending ask, watch or attachment to the
 * transport.
 */
import { randomInt } from 'node:crypto';
import { type Clock, systemClock } from '../../kernel/clock.ts';
import { InvariantError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { type Metrics, noMetrics } from '../../kernel/metrics.ts';
import type { Transport } from '../../ports/transport.ts';
import { Branches } from './branches.ts';
import { Cell } from './cell.ts';
import type { ActorDefaults, Host } from './host.ts';
import { Meters } from './meters.ts';
import { PostOffice } from './post-office.ts';
import { type NactParent, startNact, stopNact } from './nact.ts';
import { stoppedError } from './refusals.ts';
import type { Resident } from './resident.ts';
import { DEFAULT_RESTART } from './restart-budget.ts';
import type {
  ActorDefinition,
  ActorInfo,
  ActorRef,
  ActorSystem,
  AskOptions,
  DeadLetter,
  ReplyTo,
  Terminated,
} from './types.ts';

export interface ActorSystemOptions {
  /** This node's name in the cluster, unique among the attached ones. */
  readonly node: string;
  readonly logger: Logger;
  /** @default the system's */
  readonly clock?: Clock;
  /** Hears of every dead letter, after it was counted. */
  readonly onDeadLetter?: (letter: DeadLetter) => void;
  readonly defaults?: Partial<ActorDefaults>;
  /** Local messages are copied through JSON too, and what JSON can't carry is refused: for tests. */
  readonly strictMessages?: boolean;
  /** @default nobody looks, and nothing is counted */
  readonly metrics?: Metrics;
}

const DEFAULTS: ActorDefaults = {
  restart: DEFAULT_RESTART,
  mailbox: { capacity: 1_000 },
  stopDeadlineMs: 30_000,
  askTimeoutMs: 30_000,
};

/** Incarnations are a random number per system and a count: a node's next process has others. */
const INCARNATIONS_PER_SYSTEM = 2 ** 21;

/** A system of its own, or, with a transport, a node among others. */
export function createActorSystem(
  options: ActorSystemOptions & { readonly transport?: undefined },
): ActorSystem;
export function createActorSystem(
  options: ActorSystemOptions & { readonly transport: Transport },
): Promise<ActorSystem>;
export function createActorSystem(
  options: ActorSystemOptions & { readonly transport?: Transport | undefined },
): ActorSystem | Promise<ActorSystem> {
  const system = new NodeSystem(options);
  return options.transport === undefined ? system : system.join(options.transport);
}

class NodeSystem implements ActorSystem, Host {
  readonly node: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly defaults: ActorDefaults;
  readonly branches: Branches;
  readonly post: PostOffice;
  readonly meters: Meters;

  readonly #nact: NactParent;
  readonly #roots = new Set<Resident>();
  #incarnation = randomInt(1, 2 ** 31) * INCARNATIONS_PER_SYSTEM;
  #stopping: Promise<void> | null = null;

  constructor(options: ActorSystemOptions) {
    const { node, clock = systemClock, logger, onDeadLetter, strictMessages = false } = options;
    this.meters = new Meters(options.metrics ?? noMetrics);
    this.node = node;
    this.clock = clock;
    this.logger = logger;
    this.defaults = { ...DEFAULTS, ...options.defaults };
    this.#nact = startNact(`${node}.${this.#incarnation}`);
    this.branches = new Branches(this.#nact);
    const { askTimeoutMs } = this.defaults;
    const { meters } = this;
    this.post = new PostOffice({ node, clock, logger, meters, askTimeoutMs, strictMessages, onDeadLetter });
  }

  async join(transport: Transport): Promise<ActorSystem> {
    await this.post.join((receive) => transport.attach(this.node, receive));
    return this;
  }

  get deadLetterCount(): number {
    return this.post.deadLetterCount;
  }

  get refusedEnvelopeCount(): number {
    return this.post.refusedEnvelopeCount;
  }

  get refusedBySender(): ReadonlyMap<string, number> {
    return this.post.refusedBySender;
  }

  get pendingAskCount(): number {
    return this.post.pendingAskCount;
  }

  spawn<C>(name: string, definition: ActorDefinition<C>): ActorRef<C> {
    return new Cell(this, null, name, definition).ref;
  }

  tree(): readonly ActorInfo[] {
    const below = (cells: Iterable<Resident>): ActorInfo[] =>
      [...cells].flatMap((cell) => [cell.info, ...below(cell.children)]);
    return below(this.#roots);
  }

  async stopActor({ path, incarnation }: ActorRef<never>): Promise<void> {
    for (const { ref, stop } of [...this.#roots].map((cell) => ({
      ref: cell.ref,
      stop: () => cell.stop(),
    }))) {
      if (ref.path === path && ref.incarnation === incarnation) await stop();
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    this.post.expectEnd();
    await Promise.all([...this.#roots].map((cell) => cell.stop()));
    await this.post.close();
    stopNact(this.#nact);
  }

  tell<M>(to: ActorRef<M>, message: NoInfer<M>): void {
    this.post.tell(to, message);
  }

  ask<M, R>(to: ActorRef<M>, message: (replyTo: ReplyTo<R>) => NoInfer<M>, options?: AskOptions): Promise<R> {
    return this.post.ask(to, message, options);
  }

  reply<R>(to: ReplyTo<R>, reply: R): void {
    this.post.reply(to, reply);
  }

  watch(ref: ActorRef<never>, terminated: (terminated: Terminated) => void): () => void {
    return this.post.watch(ref, terminated);
  }

  // Host: what the cells need.

  nextIncarnation(): number {
    this.#incarnation += 1;
    return this.#incarnation;
  }

  admit(cell: Resident, name: string): void {
    // Children are stopped with their parents, which may spawn until their own turn comes.
    if (cell.isRoot && this.#stopping !== null) throw stoppedError(this.node);
    if (name === '' || name.includes('/'))
      throw new InvariantError(`invariant broken: '${name}' cannot name an actor`);
    this.post.moveIn(cell);
    if (cell.isRoot) this.#roots.add(cell);
  }

  dismiss(cell: Resident): void {
    this.post.moveOut(cell);
    this.#roots.delete(cell);
  }
}
