/**
 * The actor runtime's contract. Only this folder imports nact; everything else speaks these types.
 * A reference is a plain value: it can cross a wire, and sending does not tell where the receiver is.
 */
import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/logger.ts';

declare const MESSAGE: unique symbol;

/** Names an actor anywhere in the cluster. `incarnation` makes a restarted system's actors new ones. */
export interface ActorRef<M> {
  readonly node: string;
  readonly path: string;
  readonly incarnation: number;
  /** Type only; never present. */
  readonly [MESSAGE]?: (message: M) => void;
}

/**
 * The incarnation of a reference to whoever lives at a path now, for actors that are found by name.
 * References that the runtime hands out always carry a real one.
 */
export const ANY_INCARNATION = 0;

/** A reference to a well-known place: `actorRef<CoordinatorMessage>('node-a', 'coordinator')`. */
export function actorRef<M>(node: string, path: string): ActorRef<M> {
  return { node, path, incarnation: ANY_INCARNATION };
}

/** Where an answer goes; a plain value too. Answering twice, or late, does nothing. */
export interface ReplyTo<R> {
  readonly node: string;
  readonly correlation: string;
  readonly [MESSAGE]?: (reply: R) => void;
}

export interface RestartPolicy {
  /**
   * Restarts allowed within `withinMs`; one more and the actor is given up. A failure with the code
   * `stale_epoch` is never restarted and never escalated: somebody else has taken over (I2).
   */
  readonly maxRestarts: number;
  readonly withinMs: number;
  /** Pause before the n-th restart in a row: min · 2^(n−1), at most max; `withinMs` of health ends the row. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** What giving up means: the actor stops and its watchers hear of it, or its parent fails too. */
  readonly onGivenUp: 'stop' | 'escalate';
}

/** What a watcher hears. */
export interface Terminated {
  readonly ref: ActorRef<never>;
  readonly reason: 'stopped' | 'given_up' | 'node_lost';
  /** The last failure, when it was given up. */
  readonly error: unknown;
}

export interface MailboxLimit {
  /** Messages waiting, the one in hand not counted. */
  readonly capacity: number;
}

/** Lives from a start to the next restart or stop; its state is its own. */
export interface Behaviour<M> {
  /**
   * One message at a time: the next one waits for the promise. Throwing or rejecting is a failure:
   * the message is gone, the behaviour is discarded, and the restart policy decides.
   */
  receive(message: M): void | Promise<void>;
  /** After the last message, on stop and before a restart. Children have already stopped. */
  stopped?(): void | Promise<void>;
}

export interface ActorDefinition<M> {
  /** For logs, metrics and `actors tree`: `coordinator`, `conversation`, … */
  readonly kind: string;
  /** Makes the behaviour: at the start and again at every restart, so recovery belongs here. */
  start(context: ActorContext<M>): Behaviour<M> | Promise<Behaviour<M>>;
  readonly restart?: Partial<RestartPolicy>;
  readonly mailbox?: Partial<MailboxLimit>;
  /** Checks and types a message that came over the wire (I10); throwing refuses it. */
  readonly decode?: (body: unknown) => M;
  /** A handler that takes longer fails the actor. Default: no limit, but `tree()` shows since when it runs. */
  readonly handlerDeadlineMs?: number;
}

export interface AskOptions {
  /** @default 30 000 */
  readonly timeoutMs?: number;
}

export interface Messenger {
  /** Never throws, never waits. What cannot be delivered becomes a dead letter, counted and logged. */
  tell<M>(to: ActorRef<M>, message: NoInfer<M>): void;
  /**
   * Rejects with DlgforgeError `timeout` after the deadline, `overloaded` at once when the mailbox is
   * full, `receiver_gone` at once when the receiver does not exist, fails or stops before it answers, or
   * its node is lost, `refused` when the receiver's node does not accept the message, `cancelled` when
   * this system stops. Never with the receiver's own errors: replies are outcomes.
   */
  ask<M, R>(to: ActorRef<M>, message: (replyTo: ReplyTo<R>) => NoInfer<M>, options?: AskOptions): Promise<R>;
  reply<R>(to: ReplyTo<R>, reply: R): void;
}

export interface ActorContext<M> extends Messenger {
  readonly self: ActorRef<M>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How often this actor has been restarted since it was spawned. */
  readonly restarts: number;
  /**
   * Names are unique among siblings, without `/`. At most a few hundred children per parent.
   * @throws DlgforgeError `cancelled` when this behaviour has ended.
   */
  spawn<C>(name: string, definition: ActorDefinition<C>): ActorRef<C>;
  /** Stops a child (its children first) after the message it is handling. */
  stop(child: ActorRef<never>): Promise<void>;
  stopSelf(): void;
  /** Fails this actor, as if a handler had thrown `error`: for what happens outside of one. */
  fail(error: unknown): void;
  /**
   * `toMessage` is told once when `ref` is gone for good; a restart is not the end. Ends with the
   * behaviour, so `start` watches again.
   */
  watch(ref: ActorRef<never>, toMessage: (terminated: Terminated) => M): void;
  /** Tells this actor what became of a promise. An incarnation that has ended hears nothing. */
  pipe<T>(promise: Promise<T>, succeeded: (value: T) => M, failed: (error: unknown) => M): void;
  /** Tells this actor `message` after `delayMs`; the returned function cancels. Ends with the behaviour. */
  after(delayMs: number, message: M): () => void;
  /**
   * Aborts when this behaviour ends (restart) or is asked to stop, also while a handler runs: hand it
   * to everything that can be cancelled.
   */
  readonly signal: AbortSignal;
}

export interface ActorInfo {
  readonly path: string;
  readonly kind: string;
  readonly restarts: number;
  readonly lastError: string | null;
  readonly mailboxLength: number;
  readonly state: 'starting' | 'running' | 'restarting' | 'stopping' | 'stopped';
  /** Clock time at which the start or handler in hand began; null when idle. Old means: it hangs. */
  readonly handlingSinceMs: number | null;
}

/** Why a message reached nobody. */
export type DeadLetterReason =
  | 'no_such_actor' //   nobody at this path
  | 'old_incarnation' // the actor that was meant has ended; another has its name
  | 'stopped' //         it ended before the message's turn
  | 'overloaded' //      its mailbox was full: an error of the sender
  | 'not_encodable' //   the message cannot cross a wire: an error of the sender
  | 'refused' //         `decode` threw
  | 'unreachable'; //    on another node, and this system has no transport or has stopped

export interface DeadLetter {
  readonly to: ActorRef<never>;
  readonly reason: DeadLetterReason;
  /** Path of the actor that sent it; null when it came from outside or over the wire. */
  readonly sender: string | null;
  readonly message: unknown;
}

export interface ActorSystem extends Messenger {
  readonly node: string;
  spawn<C>(name: string, definition: ActorDefinition<C>): ActorRef<C>;
  /** `terminated` hears once, when `ref` is gone for good; the returned function ends the watch. */
  watch(ref: ActorRef<never>, terminated: (terminated: Terminated) => void): () => void;
  /** Every actor of this node, parents before children. */
  tree(): readonly ActorInfo[];
  /** Messages that reached nobody, since the start. */
  readonly deadLetterCount: number;
  /** Envelopes refused at the door: malformed, or of another protocol version. */
  readonly refusedEnvelopeCount: number;
  /** The same, by the node that they said they were from; a bounded number of nodes apart. */
  readonly refusedBySender: ReadonlyMap<string, number>;
  /** Asks of this node that are waiting for their answer. */
  readonly pendingAskCount: number;
  /** Stops an actor without a parent, its children first; resolves when all have ended. One that is gone is no error. */
  stopActor(ref: ActorRef<never>): Promise<void>;
  /** Stops every actor, children first, and resolves when all have ended. Idempotent. */
  stop(): Promise<void>;
}
