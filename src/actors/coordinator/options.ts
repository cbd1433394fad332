/** What a coordinator needs to know and to tell, and what it keeps between its lives. */
import type { Rank, ScheduleLimits } from '../../dialogue/schedule.ts';
import type { DatasetId, RunId } from '../../kernel/ids.ts';
import type { LeaseGrant, RunWanted, Store } from '../../ports/store.ts';
import type { WorkQueue } from '../../ports/work-queue.ts';
import type { EarlierCounts } from '../earlier-counts.ts';
import type { Outcome, RunEnd, WorkerMessage } from '../messages.ts';
import type { ActorRef } from '../runtime/types.ts';

export interface CoordinatorOptions {
  readonly store: Store;
  readonly datasetId: DatasetId;
  readonly runId: RunId;
  /** Under which it commits; its epoch goes with everything that it says to workers and conversations. */
  readonly lease: LeaseGrant;
  readonly languages: readonly string[];
  /** Conversations wanted per language. */
  readonly totalSamples: number;
  /** What 0.1.0 had done of this run. @default nothing */
  readonly earlier?: readonly EarlierCounts[];
  readonly limits: ScheduleLimits;
  readonly turnCountOf: (rank: Rank) => number;
  readonly queue: WorkQueue;
  /** A person has just had the run go on, and languages that were given up get their chances anew. */
  readonly fresh: boolean;
  /** Nodes that may have conversations of the run in hand. */
  readonly livingWorkers: () => readonly string[];
  /** What a person wants of the run, asked about every second. @default that it goes on */
  readonly wanted?: () => Promise<RunWanted>;
  /** Why it is to pause, when it is no person who wants it; null when it is. @default a person */
  readonly whyPaused?: () => string | null;
  /** Told of every conversation that was settled. */
  readonly onSettled?: () => void;
  /** How long calls in flight may take after the run was asked to stop. */
  readonly shutdownGraceMs: number;
  /** Told once per life when it is over for this coordinator. */
  readonly onEnd: (outcome: Outcome) => void;
}

/** What a restart in this process must not forget. */
export interface Held {
  /** It has written that it started: a restart is no fresh start. */
  hasStarted: boolean;
  /** Somebody asked for the end, and what for. */
  ending: RunEnd | null;
  /** Workers that reported, by key: they are told of the new life, and say what they have. */
  readonly workers: Map<string, ActorRef<WorkerMessage>>;
}
