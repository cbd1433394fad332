/**
 * One per run: decides which conversation is opened next and whose turn it is to be committed, and
 * when the run is over. The rules are in `dialogue/schedule.ts`; the truth is the commit table, from
 * which a restarted coordinator goes on.
 *
 * Owns: the schedule, and how the run ends.
 */
import {
  createSchedule,
  type LaneStart,
  type Rank,
  type Schedule,
  type ScheduleLimits,
} from '../dialogue/schedule.ts';
import { isDlgforgeError, messageOf, unreachable } from '../kernel/errors.ts';
import type { DatasetId, RunId } from '../kernel/ids.ts';
import type { LeaseGrant, Store } from '../ports/store.ts';
import type { WorkQueue } from '../ports/work-queue.ts';
import { committer } from './committer.ts';
import type { RunDirectory } from './directory.ts';
import { type EarlierCounts, withEarlier } from './earlier-counts.ts';
import { languageWave } from './language-wave.ts';
import type {
  CoordinatorMessage,
  ExporterMessage,
  RunEnd,
  RunTrouble,
  RunView,
  SettledConversation,
  WaveMessage,
  WaveView,
  WorkerMessage,
} from './messages.ts';
import type { ActorContext, ActorDefinition, ActorRef, Behaviour, ReplyTo } from './runtime/types.ts';

export interface CoordinatorOptions {
  readonly store: Store;
  readonly datasetId: DatasetId;
  readonly runId: RunId;
  readonly lease: LeaseGrant;
  readonly languages: readonly string[];
  /** Conversations wanted per language. */
  readonly totalSamples: number;
  /** What 0.1.0 had done of this run. @default nothing */
  readonly earlier?: readonly EarlierCounts[];
  readonly limits: ScheduleLimits;
  readonly turnCountOf: (rank: Rank) => number;
  readonly queue: WorkQueue;
  readonly directory: RunDirectory;
  readonly workers: readonly ActorRef<WorkerMessage>[];
  readonly exporter: ActorRef<ExporterMessage>;
  /** How long calls in flight may take after the run was asked to stop. */
  readonly shutdownGraceMs: number;
  /** Told once per life when the run is over. */
  readonly onEnd: (end: RunEnd) => void;
}

export function coordinator(options: CoordinatorOptions): ActorDefinition<CoordinatorMessage> {
  const held: Held = { ending: null, failed: new Set(), lastDrops: new Map() };
  return {
    kind: 'coordinator',
    mailbox: { capacity: 65_536 },
    async start(context) {
      const schedule = createSchedule(
        await laneStarts(options, held.failed),
        options.limits,
        options.turnCountOf,
      );
      return createCoordinator(options, held, schedule, context);
    },
  };
}

/** Where each language stands, from what is committed. */
async function laneStarts(options: CoordinatorOptions, failed: ReadonlySet<number>): Promise<LaneStart[]> {
  const counts = withEarlier(await options.store.runCounts(options.runId), options.earlier ?? []);
  return options.languages.map((_, languageIndex) => {
    const known = counts.find((count) => count.languageIndex === languageIndex);
    return {
      target: options.totalSamples,
      committed: known?.committed ?? 0,
      dropped: known?.dropped ?? 0,
      // A resumed run gets its chances anew: the person who resumes has changed something.
      consecutiveDrops: failed.has(languageIndex) ? options.limits.consecutiveDropsMax : 0,
      nextIndex: known?.nextIndex ?? 0,
    };
  });
}

/** What a restart must not forget. */
interface Held {
  /** Somebody asked for the end, and what for. */
  ending: RunEnd | null;
  /** Languages that were given up. */
  readonly failed: Set<number>;
  /** The last drop of each language, for the final message. */
  readonly lastDrops: Map<number, SettledConversation>;
}

type Phase =
  | { readonly type: 'running' }
  | { readonly type: 'draining'; readonly end: RunEnd; readonly drained: boolean }
  | { readonly type: 'ended'; readonly end: RunEnd };

function createCoordinator(
  options: CoordinatorOptions,
  held: Held,
  schedule: Schedule,
  context: ActorContext<CoordinatorMessage>,
): Behaviour<CoordinatorMessage> {
  const { directory, languages } = options;
  let phase: Phase = { type: 'running' };
  let committing: Rank | null = null;
  let priority = 0;
  const finished = new Set<string>();
  const nameOf = (rank: Rank): string => `${rank.index}/${rank.languageIndex}`;

  directory.coordinator = context.self;
  const committerRef = context.spawn(
    'committer',
    committer({ ...options, coordinator: context.self, standing: (rank) => schedule.standing(rank) }),
  );
  directory.committer = committerRef;
  context.watch(committerRef, (terminated) => ({ type: 'CommitterEnded', terminated }));
  const waves = languages.map((language, languageIndex) => {
    const { runId, queue, totalSamples: target } = options;
    const wave = context.spawn(
      `wave-${languageIndex}`,
      languageWave({ runId, queue, language, languageIndex, target }),
    );
    directory.waves.set(languageIndex, wave);
    return wave;
  });

  const admit = (): void => {
    if (phase.type !== 'running') return;
    for (let rank = schedule.admit(); rank !== null; rank = schedule.admit()) {
      const wave = waves[rank.languageIndex];
      if (wave !== undefined) context.tell(wave, { type: 'OpenConversation', rank, priority });
      // One that outlived a restart of this actor may have handed over before it was admitted again.
      if (finished.has(nameOf(rank))) schedule.setFinished(rank, true);
      priority += 1;
    }
    directory.isLastWindow = schedule.isLastWindow;
  };

  const commitNext = (): void => {
    const rank = schedule.frontier();
    if (committing !== null || rank === null || !finished.has(nameOf(rank))) return;
    committing = rank;
    context.tell(committerRef, { type: 'CommitNext', rank });
  };

  const goOn = (): void => {
    admit();
    commitNext();
    if (phase.type === 'running' && schedule.done) {
      const how = finalEnd();
      // A language that was given up may still have calls in flight; they are journalled first.
      if (how.type === 'completed') end(how);
      else drain(how);
    }
    if (phase.type !== 'draining' || !phase.drained || committing !== null) return;
    // Everything may have been settled while the run was asked to stop.
    end(phase.end.type === 'interrupted' && schedule.done ? finalEnd() : phase.end);
  };

  const finalEnd = (): RunEnd => {
    const failed = schedule.progress().filter((progress) => progress.ended === 'failed');
    if (failed.length === 0) return { type: 'completed' };
    const parts = failed.map(({ languageIndex, committed, target, consecutiveDrops }) => {
      const last = held.lastDrops.get(languageIndex);
      return `${languages[languageIndex]}: stopped at ${committed} of ${target} after ${consecutiveDrops} conversations in a row were dropped, the last one for ${last?.reason} (${last?.detail})`;
    });
    return {
      type: 'failed',
      trouble: {
        code: 'run_failed',
        message: `${parts.join('; ')}. ${adviceFor([...held.lastDrops.values()])}`,
      },
    };
  };

  const end = (how: RunEnd): void => {
    if (phase.type === 'ended') return;
    phase = { type: 'ended', end: how };
    options.onEnd(how);
  };

  const drain = (how: RunEnd): void => {
    if (phase.type !== 'running') return;
    held.ending = how;
    phase = { type: 'draining', end: how, drained: false };
    const asks = options.workers.map((worker) =>
      context.ask<WorkerMessage, 'drained'>(worker, (replyTo) => ({ type: 'DrainWorker', replyTo }), {
        timeoutMs: options.shutdownGraceMs,
      }),
    );
    context.pipe(
      Promise.allSettled(asks).then(failureOf),
      (error) => ({ type: 'WorkersDrained', error }),
      (error) => ({ type: 'WorkersDrained', error }),
    );
  };

  const settled = (conversation: SettledConversation): void => {
    const { rank } = conversation;
    // A restart has read it from the store already.
    if (schedule.standing(rank) === 'settled') return;
    committing = null;
    finished.delete(nameOf(rank));
    if (conversation.outcome === 'dropped') held.lastDrops.set(rank.languageIndex, conversation);
    const progress = schedule.settle(rank, conversation.outcome);
    const wave = waves[rank.languageIndex];
    if (wave !== undefined)
      context.tell(wave, { type: 'ConversationSettled', settled: conversation, progress });
    context.tell(options.exporter, { type: 'CatchUp' });
    if (progress.ended === 'failed') giveUp(rank.languageIndex);
    goOn();
  };

  /** Nothing more is paid for a language that will not reach its target in this run. */
  const giveUp = (languageIndex: number): void => {
    held.failed.add(languageIndex);
    for (const worker of options.workers) context.tell(worker, { type: 'LeaveLanguage', languageIndex });
  };

  const view = async (replyTo: ReplyTo<RunView>): Promise<void> => {
    const views = await Promise.all(
      waves.map((wave) =>
        // A wave that is being restarted has nothing to show; a look at the run must not disturb it.
        context
          .ask<WaveMessage, WaveView>(wave, (reply) => ({ type: 'GetWaveView', replyTo: reply }))
          .catch(() => null),
      ),
    );
    context.reply(replyTo, {
      languages: schedule
        .progress()
        .map((progress, i) => ({ ...progress, open: views[i]?.open ?? 0, turns: views[i]?.turns ?? 0 })),
      open: schedule.openCount,
      waiting: schedule.waitingCount,
    });
  };

  if (held.ending === null) goOn();
  else drain(held.ending);

  return {
    receive(message) {
      switch (message.type) {
        case 'ConversationHandedOver':
          finished.add(nameOf(message.rank));
          schedule.setFinished(message.rank, true);
          return goOn();
        case 'ConversationSentBack':
          committing = null;
          finished.delete(nameOf(message.rank));
          schedule.setFinished(message.rank, false);
          return goOn();
        case 'ConversationSettled':
          return settled(message.settled);
        case 'TroubleReported':
          return drain({ type: 'failed', trouble: message.trouble });
        case 'StopRun':
          return drain({ type: 'interrupted' });
        case 'WorkersDrained':
          if (message.error !== null)
            context.logger.log(
              'warn',
              'run',
              `[run] calls in flight were cut off: ${messageOf(message.error)}`,
            );
          if (phase.type === 'draining') phase = { ...phase, drained: true };
          return goOn();
        case 'CommitterEnded':
          // Every other failure escalates and restarts this actor.
          if (!isDlgforgeError(message.terminated.error, 'stale_epoch')) return;
          return end({ type: 'failed', trouble: troubleOf(message.terminated.error) });
        case 'GetRunView':
          return view(message.replyTo);
        default:
          return unreachable(message);
      }
    },
  };
}

const failureOf = (asks: readonly PromiseSettledResult<unknown>[]): unknown =>
  asks.find((ask) => ask.status === 'rejected')?.reason ?? null;

function troubleOf(error: unknown): RunTrouble {
  return {
    code: 'held',
    message: `Another process has taken this dataset over: ${messageOf(error)}`,
  };
}

/** What a person can change, by the reason of the drops. */
function adviceFor(drops: readonly SettledConversation[]): string {
  const reasons = new Set(drops.map((drop) => drop.reason));
  if (reasons.has('dedup_exhausted')) {
    return 'The model keeps asking questions that are already in the dataset: add documents, raise coverage.question_dedup_retries or the temperature of the user role, or lower run.total_samples; then run the same command again.';
  }
  if (reasons.has('model_refused'))
    return 'The endpoint refuses these requests: see logs/llm.log, change the model or its settings, then run the same command again.';
  if (reasons.has('crashed')) return 'See logs/run.log for the failure, then run the same command again.';
  return 'The model does not answer with the JSON that is asked for: see logs/llm.log, choose a model that can, or raise llm.agents.<role>.max_tokens; then run the same command again.';
}
