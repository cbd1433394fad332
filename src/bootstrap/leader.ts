/** Leads a run on this node: spawns its coordinator, and says what became of it. */
import { coordinator } from '../actors/coordinator/coordinator.ts';
import type { CoordinatorOptions } from '../actors/coordinator/options.ts';
import { coordinatorPath } from '../actors/directory.ts';
import type { CoordinatorMessage, Outcome, RunView } from '../actors/messages.ts';
import type { ActorRef, ActorSystem, Terminated } from '../actors/runtime/types.ts';
import type { EarlierCounts } from '../actors/earlier-counts.ts';
import type { DialogueContext } from '../dialogue/conversation.ts';
import { DlgforgeError, isDlgforgeError, messageOf } from '../kernel/errors.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { RunTrouble } from '../protocol/run-events.ts';

/** What leading a run depends on, and what any node can read in the store. */
export interface LeaderParts {
  readonly datasetId: DatasetId;
  readonly dialogue: DialogueContext;
  readonly totalSamples: number;
  /** What 0.1.0 had done of this run. @default nothing */
  readonly earlier?: readonly EarlierCounts[];
  /** Conversations that are generated side by side. */
  readonly batchSize: number;
  readonly consecutiveDropsMax: number;
  readonly shutdownGraceMs: number;
}

export interface LeaderOptions
  extends Pick<
    CoordinatorOptions,
    'store' | 'lease' | 'runId' | 'queue' | 'fresh' | 'livingWorkers' | 'wanted' | 'whyPaused' | 'onSettled'
  > {
  readonly system: ActorSystem;
  readonly parts: LeaderParts;
  /** Called once. `superseded`: another node leads the run now, and it goes on there. */
  readonly onEnd: (outcome: Outcome) => void;
}

export interface Leader {
  readonly coordinator: ActorRef<CoordinatorMessage>;
  /** Admits nothing more, and ends as interrupted when nothing is in flight. */
  stopRun(): void;
  view(): Promise<RunView>;
  /** Leads no longer: the run goes on under whoever takes it. */
  stop(): Promise<void>;
}

/** Finished conversations that may wait for lower ranks, per open one. */
const WAITING_PER_OPEN = 4;
const WAITING_MIN = 64;

/** Conversations that may wait for lower ranks. */
export const waitingMaxOf = (batchSize: number): number =>
  Math.max(WAITING_MIN, WAITING_PER_OPEN * batchSize);

export function startLeader(options: LeaderOptions): Leader {
  const { system, store, lease, parts, onEnd } = options;
  const { batchSize, consecutiveDropsMax, dialogue } = parts;
  const { settings, planner } = dialogue;
  let isOver = false;

  const over = (outcome: Outcome): void => {
    if (isOver) return;
    isOver = true;
    onEnd(outcome);
  };

  /** It may be told to stop while the store is asked. */
  const hasEnded = (): boolean => isOver;

  const spawn = (fresh: boolean): ActorRef<CoordinatorMessage> => {
    const ref = system.spawn(
      coordinatorPath(options.runId),
      coordinator({
        ...options,
        ...parts,
        fresh,
        languages: settings.languages.map((language) => language.name),
        limits: { openMax: batchSize, waitingMax: waitingMaxOf(batchSize), consecutiveDropsMax },
        turnCountOf: (rank) => planner.conversation(rank.languageIndex, rank.index).turnCount,
        onEnd: over,
      }),
    );
    system.watch(ref, (terminated) => void ended(terminated));
    return ref;
  };

  const ended = async ({ reason, error }: Terminated): Promise<void> => {
    if (reason === 'stopped' || isOver) return;
    if (!isDlgforgeError(error, 'stale_epoch')) return over({ type: 'failed', trouble: troubleOf(error) });
    try {
      // A former leader that did not know better may have taken the journal; who has the lease goes on.
      await store.renewLease(lease);
      if (hasEnded()) return;
      ref = spawn(false);
    } catch (why) {
      over(
        isDlgforgeError(why, 'stale_epoch')
          ? { type: 'superseded', message: messageOf(why) }
          : { type: 'failed', trouble: troubleOf(why) },
      );
    }
  };

  let ref = spawn(options.fresh);
  return {
    get coordinator() {
      return ref;
    },
    stopRun: () => system.tell(ref, { type: 'StopRun' }),
    view: () => system.ask<CoordinatorMessage, RunView>(ref, (replyTo) => ({ type: 'GetRunView', replyTo })),
    async stop() {
      isOver = true;
      await system.stopActor(ref);
    },
  };
}

export function troubleOf(error: unknown): RunTrouble {
  return {
    code: error instanceof DlgforgeError ? error.code : 'run_failed',
    message: `${messageOf(error)} (see logs/run.log)`,
  };
}
