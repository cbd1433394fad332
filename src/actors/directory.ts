/**
 * Who plays which part of a run at the moment. A part that is restarted gets a new address, and whoever
 * asks here next finds it.
 */
import type { CommitterMessage, CoordinatorMessage, RetrieverMessage, WaveMessage } from './messages.ts';
import type { ActorRef } from './runtime/types.ts';

export interface RunDirectory {
  coordinator: ActorRef<CoordinatorMessage> | null;
  committer: ActorRef<CommitterMessage> | null;
  retriever: ActorRef<RetrieverMessage> | null;
  /** By language index. */
  readonly waves: Map<number, ActorRef<WaveMessage>>;
  /** From here on the conversations with the most turns left are served first. */
  isLastWindow: boolean;
}

export function createDirectory(): RunDirectory {
  return { coordinator: null, committer: null, retriever: null, waves: new Map(), isLastWindow: false };
}
