/**
 * The actors of one node. Owns the registry of paths, the dead letters, and the asks at both ends.
 *
 * Invariants: 1. a path names at most one living actor, and a reference reaches only the incarnation
 * that it was made for; 2. sending never throws and never waits; 3. after `stop` nothing is left: no
 * actor, timer, pending ask, watch or attachment to the transport.
 */
import { randomInt } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, systemClock } from '../../kernel/clock.ts';
import { DlgforgeError, InvariantError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Transport } from '../../ports/transport.ts';
import { PendingAsks, type ReceivedAsk, ReceivedAsks } from './asks.ts';
import { Branches } from './branches.ts';
import { Cell } from './cell.ts';
import { DeadLetters } from './dead-letters.ts';
import type { ActorDefaults, Host } from './host.ts';
import { jsonCopy } from './json-copy.ts';
import { type NactParent, startNact, stopNact } from './nact.ts';
import { type Inside, RemoteDoor } from './remote-door.ts';
import { stoppedError, tooManyAsks, undeliverable } from './refusals.ts';
import { DEFAULT_RESTART } from './restart-budget.ts';
import {
  type ActorDefinition,
  type ActorInfo,
  type ActorRef,
  type ActorSystem,
  ANY_INCARNATION,
  type AskOptions,
  type DeadLetter,
  type DeadLetterReason,
  type ReplyTo,
  type Terminated,
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

class NodeSystem implements ActorSystem, Host, Inside {
  readonly node: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly defaults: ActorDefaults;
  readonly branches: Branches;

  readonly #nact: NactParent;
  readonly #strict: boolean;
  readonly #cells = new Map<string, Cell>();
  readonly #roots = new Set<Cell>();
  readonly #deadLetters: DeadLetters;
  readonly #received: ReceivedAsks;
  readonly #pending: PendingAsks;
  #remote: RemoteDoor | null = null;
  #incarnation = randomInt(1, 2 ** 31) * INCARNATIONS_PER_SYSTEM;
  #stopping: Promise<void> | null = null;
  #closed = false;

  constructor(options: ActorSystemOptions) {
    this.node = options.node;
    this.clock = options.clock ?? systemClock;
    this.logger = options.logger;
    this.defaults = { ...DEFAULTS, ...options.defaults };
    this.#strict = options.strictMessages ?? false;
    this.#nact = startNact(`${options.node}.${this.#incarnation}`);
    this.branches = new Branches(this.#nact);
    this.#deadLetters = new DeadLetters(this.clock, this.logger, options.onDeadLetter);
    this.#received = new ReceivedAsks(this.clock);
    this.#pending = new PendingAsks(this.clock, (correlation) => this.#received.settle(correlation));
  }

  async join(transport: Transport): Promise<ActorSystem> {
    const door = new RemoteDoor(this);
    door.open(await transport.attach(this.node, (arrived) => door.receive(arrived)));
    this.#remote = door;
    return this;
  }

  get deadLetterCount(): number {
    return this.#deadLetters.count;
  }

  get refusedEnvelopeCount(): number {
    return this.#remote?.refusedCount ?? 0;
  }

  get pendingAskCount(): number {
    return this.#pending.size;
  }

  spawn<C>(name: string, definition: ActorDefinition<C>): ActorRef<C> {
    return new Cell(this, null, name, definition).ref;
  }

  tree(): readonly ActorInfo[] {
    const below = (cells: Iterable<Cell>): ActorInfo[] =>
      [...cells].flatMap((cell) => [cell.info, ...below(cell.children)]);
    return below(this.#roots);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    await Promise.all([...this.#roots].map((cell) => cell.stop()));
    this.#closed = true;
    await this.#remote?.close();
    this.#remote = null;
    this.#pending.rejectAll(stoppedError(this.node));
    this.#deadLetters.flush();
    this.branches.close();
    stopNact(this.#nact);
    // nact ends its actors in the next turn.
    await nextTurn();
  }

  // Messenger: actors are the senders when they call it through their context.

  tell(to: ActorRef<never>, message: unknown, sender: string | null = null): void {
    try {
      const reason = to.node === this.node ? this.#deliver(to, message, sender) : this.#sendAway(to, message);
      if (reason !== null) this.deadLetter({ to, reason, sender, message });
    } catch (error) {
      this.logger.log(
        'error',
        'actors',
        `[actor] ${sender ?? 'outside'} sent what cannot travel: ${messageOf(error)}`,
      );
      this.deadLetter({ to, reason: 'not_encodable', sender, message });
    }
  }

  ask<M, R>(
    to: ActorRef<M>,
    make: (replyTo: ReplyTo<R>) => NoInfer<M>,
    options?: AskOptions,
    sender: string | null = null,
  ): Promise<R> {
    if (this.#closed) return Promise.reject(stoppedError(this.node));
    if (!this.#pending.hasRoom) return Promise.reject(tooManyAsks(this.node));
    const timeoutMs = options?.timeoutMs ?? this.defaults.askTimeoutMs;
    const correlation = this.#pending.nextCorrelation();
    const answer = this.#pending.open<R>(correlation, to.node, to.path, timeoutMs);
    try {
      const message = make({ node: this.node, correlation });
      const reason = this.#sendAsk(to, message, { correlation, timeoutMs, sender });
      if (reason !== null) this.#pending.reject(correlation, undeliverable(to, reason));
    } catch (error) {
      this.#pending.reject(correlation, error);
    }
    return answer;
  }

  reply<R>(to: ReplyTo<R>, reply: R): void {
    if (to.node !== this.node) {
      this.#received.settle(to.correlation);
      this.#remote?.reply(to, reply);
      return;
    }
    try {
      this.#pending.resolve(to.correlation, this.#carried(reply));
    } catch (error) {
      this.#pending.reject(to.correlation, error);
    }
  }

  watch(ref: ActorRef<never>, notify: (terminated: Terminated) => void): () => void {
    const heard = (terminated: Terminated): void => this.#guarded(() => notify(terminated));
    if (ref.node === this.node) return this.watchHere(ref, heard);
    if (this.#remote !== null) return this.#remote.watch(ref, heard);
    return later(() => heard({ ref, reason: 'node_lost', error: undeliverable(ref, 'unreachable') }));
  }

  #sendAsk(
    to: ActorRef<never>,
    message: unknown,
    ask: { readonly correlation: string; readonly timeoutMs: number; readonly sender: string | null },
  ): DeadLetterReason | null {
    if (to.node === this.node) return this.#deliver(to, message, ask.sender, { ...ask, from: this.node });
    if (this.#remote === null) return 'unreachable';
    this.#remote.ask(to, ask.correlation, ask.timeoutMs, message);
    return null;
  }

  #sendAway(to: ActorRef<never>, message: unknown): DeadLetterReason | null {
    if (this.#remote === null) return 'unreachable';
    this.#remote.tell(to, message);
    return null;
  }

  #deliver(
    to: ActorRef<never>,
    message: unknown,
    sender: string | null,
    ask?: { readonly correlation: string; readonly from: string; readonly timeoutMs: number },
  ): DeadLetterReason | null {
    const cell = this.#cells.get(to.path);
    const reason =
      cell === undefined ? 'no_such_actor' : isMeant(to, cell) ? cell.refusal : 'old_incarnation';
    if (reason !== null || cell === undefined) return reason;
    const carried = this.#carried(message);
    const open =
      ask === undefined ? null : this.#received.add(ask.correlation, ask.from, ask.timeoutMs, cell.openAsks);
    cell.deliver(carried, open, sender);
    return null;
  }

  #carried(message: unknown): unknown {
    return this.#strict ? jsonCopy(message) : message;
  }

  // Host: what the cells need.

  nextIncarnation(): number {
    this.#incarnation += 1;
    return this.#incarnation;
  }

  admit(cell: Cell, name: string): void {
    // Children are stopped with their parents, which may spawn until their own turn comes.
    if (cell.isRoot && this.#stopping !== null) throw stoppedError(this.node);
    const { path } = cell.ref;
    if (name === '' || name.includes('/'))
      throw new InvariantError(`invariant broken: '${name}' cannot name an actor`);
    if (this.#cells.has(path))
      throw new InvariantError(`invariant broken: an actor named ${path} exists already`);
    this.#cells.set(path, cell);
    if (cell.isRoot) this.#roots.add(cell);
  }

  dismiss(cell: Cell): void {
    this.#cells.delete(cell.ref.path);
    this.#roots.delete(cell);
  }

  failAsks(asks: Iterable<ReceivedAsk>, path: string): void {
    const text = `${this.node}/${path} ended or was restarted before it answered; ask again`;
    const error = new DlgforgeError('receiver_gone', text, { retryable: true });
    for (const { correlation, node } of asks) {
      this.#received.settle(correlation);
      if (node === this.node) this.#pending.reject(correlation, error);
      else this.#remote?.fail(node, correlation, error);
    }
  }

  deadLetter(letter: DeadLetter): void {
    this.#deadLetters.add(letter);
  }

  // Inside: what the door to other nodes needs.

  arrived(
    to: ActorRef<never>,
    body: unknown,
    ask: { readonly correlation: string; readonly from: string; readonly timeoutMs: number } | null,
  ): void {
    const reason = this.#deliverArrived(to, body, ask);
    if (reason === null) return;
    if (ask === null) this.deadLetter({ to, reason, sender: null, message: body });
    else this.#remote?.fail(ask.from, ask.correlation, undeliverable(to, reason));
  }

  resolveAsk(correlation: string, reply: unknown): void {
    this.#pending.resolve(correlation, reply);
  }

  rejectAsk(correlation: string, error: DlgforgeError): void {
    this.#pending.reject(correlation, error);
  }

  rejectAsksTo(node: string, error: DlgforgeError): void {
    this.#pending.rejectNode(node, error);
  }

  nextCorrelation(): string {
    return this.#pending.nextCorrelation();
  }

  watchHere(ref: ActorRef<never>, notify: (terminated: Terminated) => void): () => void {
    const cell = this.#cells.get(ref.path);
    if (cell !== undefined && isMeant(ref, cell)) return cell.addWatcher(notify);
    return later(() => notify({ ref, reason: 'stopped', error: null }));
  }

  #deliverArrived(
    to: ActorRef<never>,
    body: unknown,
    ask: { readonly correlation: string; readonly from: string; readonly timeoutMs: number } | null,
  ): DeadLetterReason | null {
    try {
      const decode = this.#cells.get(to.path)?.definition.decode;
      return this.#deliver(to, decode === undefined ? body : decode(body), null, ask ?? undefined);
    } catch (error) {
      this.logger.log('warn', 'actors', `[remote] ${to.path} refused a message: ${messageOf(error)}`);
      return 'refused';
    }
  }

  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.logger.log('error', 'actors', `[actor] a watcher failed: ${messageOf(error)}`, { error });
    }
  }
}

function isMeant(to: ActorRef<never>, cell: Cell): boolean {
  return to.incarnation === ANY_INCARNATION || to.incarnation === cell.ref.incarnation;
}

/** Runs `notify` when the caller has returned, unless it is cancelled first. */
function later(notify: () => void): () => void {
  let cancelled = false;
  queueMicrotask(() => {
    if (!cancelled) notify();
  });
  return () => {
    cancelled = true;
  };
}
