import type { ReceivedAsk } from './asks.ts';
import type { Dependents } from './dependents.ts';
import type { ActorDefinition, ActorInfo, ActorRef, DeadLetterReason } from './types.ts';

/** An actor as the parts around it see it; `cell.ts` says what each of these does. */
export interface Resident {
  readonly ref: ActorRef<unknown>;
  readonly definition: ActorDefinition<unknown>;
  readonly isRoot: boolean;
  readonly restarts: number;
  readonly info: ActorInfo;
  readonly children: Iterable<Resident>;
  readonly dependents: Dependents;

  /** Why a message would not be taken now; null when it would. */
  readonly refusal: DeadLetterReason | null;
  /** Only when `refusal` is null. */
  deliver(message: unknown, ask: ReceivedAsk | null, sender: string | null): void;
  /** A message of the actor to itself, which needs no credit: timers, piped promises, watches. */
  deliverOwn(message: unknown): void;

  spawnChild(name: string, definition: ActorDefinition<unknown>): ActorRef<unknown>;
  /** Rejects when `child` is not one. Does nothing when it has ended. */
  stopChild(child: ActorRef<never>): Promise<void>;
  /** Resolves when this actor has ended, its children before it. Idempotent. */
  stop(): Promise<void>;
  /** Fails the current life before the next message. */
  fail(error: unknown): void;
}
