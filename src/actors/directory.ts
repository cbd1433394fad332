/**
 * Who plays which part of a run at the moment. The actors of whoever leads it live at well-known paths, so
 * who leads it is all that has to be known; ask here for every message, because it may move.
 */
import type { Leader, Membership } from '../ports/membership.ts';
import type { CommitterMessage, CoordinatorMessage, RetrieverMessage, WaveMessage } from './messages.ts';
import { type ActorRef, actorRef } from './runtime/types.ts';

export interface RunDirectory {
  /** Each of these is null while nobody plays that part. */
  coordinator(): ActorRef<CoordinatorMessage> | null;
  committer(): ActorRef<CommitterMessage> | null;
  wave(languageIndex: number): ActorRef<WaveMessage> | null;
  retriever(): ActorRef<RetrieverMessage> | null;
  /** Of the lease under which the run is led; 0 while nobody does. */
  epoch(): number;
  /** How often this node has come into contact with the others (`Membership.contacts`). */
  contacts(): number;
  /** Called when the run has another leader, or none; the returned function ends it. */
  onLeaderChange(listener: () => void): () => void;
  /** From here on the conversations with the most turns left are served first. Kept up by the worker. */
  isLastWindow: boolean;
}

/** The singleton that leads a run. */
export const runSingleton = (runId: string): string => `run/${runId}`;

/** Where the coordinator of a run lives on the node that leads it. */
export const coordinatorPath = (runId: string): string => `run:${encodeURIComponent(runId)}`;
export const COMMITTER_NAME = 'committer';
export const waveName = (languageIndex: number): string => `wave-${languageIndex}`;

type FindRetriever = () => ActorRef<RetrieverMessage> | null;

export interface ClusterDirectoryOptions {
  readonly membership: Pick<Membership, 'leaderOf' | 'onChange' | 'contacts'>;
  readonly runId: string;
  readonly retriever: FindRetriever;
}

/** For a run that any node may lead. */
export function clusterDirectory({ membership, runId, retriever }: ClusterDirectoryOptions): RunDirectory {
  const leader = (): Leader | null => membership.leaderOf(runSingleton(runId));
  return {
    ...lookUps(runId, leader, retriever),
    contacts: () => membership.contacts(),
    onLeaderChange(listener) {
      let last = textOf(leader());
      return membership.onChange(() => {
        const now = textOf(leader());
        if (now === last) return;
        last = now;
        listener();
      });
    },
  };
}

export interface LocalDirectoryOptions {
  readonly node: string;
  readonly runId: string;
  readonly epoch: number;
  readonly retriever: FindRetriever;
}

/** For a run that this process leads from its start to its end. */
export function localDirectory({ node, runId, epoch, retriever }: LocalDirectoryOptions): RunDirectory {
  return {
    ...lookUps(runId, () => ({ node, epoch }), retriever),
    contacts: () => 0,
    onLeaderChange: () => () => undefined,
  };
}

function lookUps(
  runId: string,
  leader: () => Leader | null,
  retriever: FindRetriever,
): Omit<RunDirectory, 'onLeaderChange' | 'contacts'> {
  const path = coordinatorPath(runId);
  const at = <M>(below: string): ActorRef<M> | null => {
    const now = leader();
    return now === null ? null : actorRef<M>(now.node, `${path}${below}`);
  };
  return {
    coordinator: () => at(''),
    committer: () => at(`/${COMMITTER_NAME}`),
    wave: (languageIndex) => at(`/${waveName(languageIndex)}`),
    retriever,
    epoch: () => leader()?.epoch ?? 0,
    isLastWindow: false,
  };
}

const textOf = (leader: Leader | null): string => (leader === null ? '' : `${leader.epoch} ${leader.node}`);
