import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { ReceivedAsk } from './asks.ts';
import type { Branches } from './branches.ts';
import type { Cell } from './cell.ts';
import type {
  ActorRef,
  AskOptions,
  DeadLetter,
  MailboxLimit,
  ReplyTo,
  RestartPolicy,
  Terminated,
} from './types.ts';

/** What holds for every actor that does not say otherwise. */
export interface ActorDefaults {
  readonly restart: RestartPolicy;
  readonly mailbox: MailboxLimit;
  /** How long a stop waits for the handler in hand, and then for `stopped`, before it goes on without. */
  readonly stopDeadlineMs: number;
  readonly askTimeoutMs: number;
}

/** What an actor's cell needs of the system that it lives in. */
export interface Host {
  readonly node: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly defaults: ActorDefaults;
  /** The nact parents of actors without a parent. */
  readonly branches: Branches;

  nextIncarnation(): number;
  /** Makes a path known. Throws when the name is unfit or taken, or the system has stopped. */
  admit(cell: Cell, name: string): void;
  dismiss(cell: Cell): void;

  tell(to: ActorRef<never>, message: unknown, sender: string): void;
  ask<M, R>(
    to: ActorRef<M>,
    message: (replyTo: ReplyTo<R>) => NoInfer<M>,
    options: AskOptions | undefined,
    sender: string,
  ): Promise<R>;
  reply<R>(to: ReplyTo<R>, reply: R): void;
  /** `notify` hears once, later than this call; the returned function ends the watch. */
  watch(ref: ActorRef<never>, notify: (terminated: Terminated) => void): () => void;
  failAsks(asks: Iterable<ReceivedAsk>, path: string): void;
  deadLetter(letter: DeadLetter): void;
}
