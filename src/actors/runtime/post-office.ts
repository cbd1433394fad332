/**
 * Where messages of this node go: to its actors, to other nodes, or to the dead letters. Owns the
 * registry of paths, the dead letters, and the asks at both ends. Who sends and who lives here is not
 * its business: actors move in and out by `moveIn` and `moveOut`.
 *
 * Invariants: 1. a path names at most one living actor, and a reference reaches only the incarnation
 * that it was made for; 2. sending never throws and never waits; 3. an ask is answered, failed or
 * timed out, once.
 */
import type { Clock } from '../../kernel/clock.ts';
import { DlgforgeError, InvariantError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { TransportEndpoint } from '../../ports/transport.ts';
import { type Asked, PendingAsks, type ReceivedAsk, ReceivedAsks } from './asks.ts';
import { DeadLetters } from './dead-letters.ts';
import { jsonCopy } from './json-copy.ts';
import type { Meters } from './meters.ts';
import { stoppedError, tooManyAsks, undeliverable } from './refusals.ts';
import { type Inside, RemoteDoor } from './remote-door.ts';
import type { Resident } from './resident.ts';
import {
  type ActorRef,
  ANY_INCARNATION,
  type AskOptions,
  type DeadLetter,
  type DeadLetterReason,
  type ReplyTo,
  type Terminated,
} from './types.ts';

export interface PostOfficeOptions {
  readonly node: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly meters: Meters;
  readonly askTimeoutMs: number;
  readonly strictMessages: boolean;
  readonly onDeadLetter: ((letter: DeadLetter) => void) | undefined;
}

export class PostOffice implements Inside {
  readonly node: string;
  readonly logger: Logger;
  readonly #options: PostOfficeOptions;
  readonly #cells = new Map<string, Resident>();
  readonly #deadLetters: DeadLetters;
  readonly #received: ReceivedAsks;
  readonly #pending: PendingAsks;
  #remote: RemoteDoor | null = null;
  #closed = false;

  constructor(options: PostOfficeOptions) {
    const { node, clock, logger, meters, onDeadLetter } = options;
    this.node = node;
    this.logger = logger;
    this.#options = options;
    this.#deadLetters = new DeadLetters(clock, logger, meters, onDeadLetter);
    this.#received = new ReceivedAsks(clock);
    this.#pending = new PendingAsks(
      clock,
      (correlation) => this.#received.settle(correlation),
      meters.asksTimedOut,
    );
  }

  get deadLetterCount(): number {
    return this.#deadLetters.count;
  }

  get refusedEnvelopeCount(): number {
    return this.#remote?.refusedCount ?? 0;
  }

  get refusedBySender(): ReadonlyMap<string, number> {
    return this.#remote?.refusedBySender ?? new Map();
  }

  get pendingAskCount(): number {
    return this.#pending.size;
  }

  async join(attach: (receive: (arrived: unknown) => void) => Promise<TransportEndpoint>): Promise<void> {
    const door = new RemoteDoor(this);
    door.open(await attach((arrived) => door.receive(arrived)));
    this.#remote = door;
  }

  /** Before the actors are stopped. */
  expectEnd(): void {
    this.#deadLetters.expectEnd();
  }

  /** When every actor has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#remote?.close();
    this.#pending.rejectAll(stoppedError(this.node));
    this.#deadLetters.flush();
  }

  moveIn(cell: Resident): void {
    const { path } = cell.ref;
    if (this.#cells.has(path))
      throw new InvariantError(`invariant broken: an actor named ${path} exists already`);
    this.#cells.set(path, cell);
  }

  moveOut(cell: Resident): void {
    this.#cells.delete(cell.ref.path);
  }

  deadLetter(letter: DeadLetter): void {
    this.#deadLetters.add(letter);
  }

  // For senders.

  tell(to: ActorRef<never>, message: unknown, sender: string | null = null): void {
    try {
      const reason =
        to.node === this.node ? this.#deliver(to, message, sender, null) : this.#sendAway(to, message);
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
    const timeoutMs = options?.timeoutMs ?? this.#options.askTimeoutMs;
    const correlation = this.#pending.nextCorrelation();
    const answer = this.#pending.open<R>(correlation, to.node, to.path, timeoutMs);
    try {
      const message = make({ node: this.node, correlation });
      const reason = this.#sendAsk(to, message, { correlation, from: this.node, timeoutMs }, sender);
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
    ask: Asked,
    sender: string | null,
  ): DeadLetterReason | null {
    if (to.node === this.node) return this.#deliver(to, message, sender, ask);
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
    ask: Asked | null,
  ): DeadLetterReason | null {
    const cell = this.#cells.get(to.path);
    const reason =
      cell === undefined ? 'no_such_actor' : isMeant(to, cell) ? cell.refusal : 'old_incarnation';
    if (reason !== null || cell === undefined) return reason;
    const carried = this.#carried(message);
    cell.deliver(carried, ask === null ? null : this.#received.add(ask, cell.dependents.asks), sender);
    return null;
  }

  #carried(message: unknown): unknown {
    return this.#options.strictMessages ? jsonCopy(message) : message;
  }

  // For receivers.

  failAsks(asks: Iterable<ReceivedAsk>, path: string): void {
    const text = `${this.node}/${path} ended or was restarted before it answered; ask again`;
    const error = new DlgforgeError('receiver_gone', text, { retryable: true });
    for (const { correlation, from } of asks) {
      this.#received.settle(correlation);
      if (from === this.node) this.#pending.reject(correlation, error);
      else this.#remote?.fail(from, correlation, error);
    }
  }

  // For the door to other nodes.

  arrived(to: ActorRef<never>, body: unknown, ask: Asked | null): void {
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
    if (cell !== undefined && isMeant(ref, cell)) return cell.dependents.watch(notify);
    return later(() => notify({ ref, reason: 'stopped', error: null }));
  }

  #deliverArrived(to: ActorRef<never>, body: unknown, ask: Asked | null): DeadLetterReason | null {
    try {
      const decode = this.#cells.get(to.path)?.definition.decode;
      return this.#deliver(to, decode === undefined ? body : decode(body), null, ask);
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

function isMeant(to: ActorRef<never>, cell: Resident): boolean {
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
