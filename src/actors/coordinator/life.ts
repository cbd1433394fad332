/**
 * One life of a coordinator, from its start to the next restart, move or end.
 *
 * Owns: the schedule, the phase of the run, and which worker has which conversation.
 * Invariants: 1. nothing is admitted or granted before it is known who has what (`isWarm`); 2. a
 * conversation is granted to one worker at a time, as far as this node can know; 3. it is republished as
 * soon as whoever had it is gone; 4. `onEnd` is called when the end is durable, unless another has taken over.
 */
import { type Rank, type Schedule } from '../../dialogue/schedule.ts';
import { isDlgforgeError, messageOf, unreachable } from '../../kernel/errors.ts';
import type { RunStatus, RunWanted } from '../../ports/store.ts';
import type { RunEvent } from '../../protocol/run-events.ts';
import type {
  ClaimReply,
  CoordinatorMessage,
  Outcome,
  RunEnd,
  RunView,
  SettledConversation,
  WaveView,
  WorkerHere,
} from '../messages.ts';
import type { Persistence } from '../runtime/persistent-actor.ts';
import type { ActorContext, Behaviour, ReplyTo, Terminated } from '../runtime/types.ts';
import { settledEvents } from './catch-up.ts';
import { spawnChildren } from './children.ts';
import type { CoordinatorOptions, Held } from './options.ts';
import { createCrew, rankName, workerKey, workerName } from './crew.ts';
import { createEventLog } from './event-log.ts';
import { finalEnd } from './final-end.ts';
import { createNoticeBoard } from './notice-board.ts';
import type { RunRecord } from './record.ts';

export interface LifeOptions {
  readonly options: CoordinatorOptions;
  readonly held: Held;
  readonly context: ActorContext<CoordinatorMessage>;
  readonly persistence: Persistence<RunRecord, RunEvent>;
  readonly schedule: Schedule;
  readonly wanted: RunWanted;
}

type Phase =
  | { readonly type: 'running' | 'paused' }
  /** `isOver`: the grace has passed. */
  | { readonly type: 'draining'; readonly end: RunEnd; readonly isOver: boolean }
  | { readonly type: 'ended'; readonly end: RunEnd; readonly isTold: boolean }
  | { readonly type: 'superseded' };

const TICK_MS = 1_000;
/** By then every worker that lives has said what it has. */
const WARM_UP_MS = 2_500;
/** What nobody has had for a whole interval is published again, whatever became of it. */
const SWEEP_TICKS = 10;

export function createLife(life: LifeOptions): Behaviour<CoordinatorMessage> {
  const { options, held, context, schedule } = life;
  const { languages, lease, runId, store } = options;
  const { epoch } = lease;
  const crew = createCrew();
  const log = createEventLog(context, life.persistence);
  const finished = new Set<string>();
  let phase: Phase = { type: 'running' };
  let isWarm = false;
  /** What was opened before may be in the queue as being in the hands of somebody who died with the last life. */
  let isTakenOver = life.persistence.epoch > 1;
  let committing: Rank | null = null;
  let isAsking = false;
  let statusWrites = 0;
  let ticks = 0;

  const children = spawnChildren(options, schedule, context);
  const notices = createNoticeBoard({
    options,
    schedule,
    crew,
    context,
    term: life.persistence.epoch,
    phase: () => (phase.type === 'running' || phase.type === 'paused' ? phase.type : 'draining'),
  });
  const endQueueWatch = options.queue.onLoss(() => context.tell(context.self, { type: 'QueueLost' }));

  /** Perhaps paused, but neither ending nor another's. */
  const isGoingOn = (): boolean => phase.type === 'running' || phase.type === 'paused';
  const isOver = (): boolean => phase.type === 'ended' || phase.type === 'superseded';

  // ---- conversations ------------------------------------------------------------------------------

  const admit = (): void => {
    if (phase.type !== 'running' || !isWarm) return;
    for (let rank = schedule.admit(); rank !== null; rank = schedule.admit()) {
      const isHeld = crew.isHeld(rank);
      if (isTakenOver && !isHeld) children.tellWave(rank, { type: 'RepublishConversation', rank });
      else children.tellWave(rank, { type: 'OpenConversation', rank, isHeld });
      // One that outlived a life of this actor may have handed over before it was admitted again.
      if (finished.has(rankName(rank))) schedule.setFinished(rank, true);
    }
    isTakenOver = false;
  };

  const commitNext = (): void => {
    if (isOver()) return;
    const rank = schedule.frontier();
    if (committing !== null || rank === null || !finished.has(rankName(rank))) return;
    committing = rank;
    context.tell(children.committer, { type: 'CommitNext', rank });
  };

  const setFinished = (rank: Rank, isFinished: boolean): void => {
    if (isFinished) finished.add(rankName(rank));
    else finished.delete(rankName(rank));
    schedule.setFinished(rank, isFinished);
  };

  const settled = (conversation: SettledConversation): void => {
    const { rank } = conversation;
    // A life before this one has read it from the store already.
    if (schedule.standing(rank) === 'settled') return;
    committing = null;
    finished.delete(rankName(rank));
    log.note(settledEvents(options, log.record, conversation));
    const progress = schedule.settle(rank, conversation.outcome);
    const isHeld = crew.isHeld(rank);
    children.tellWave(rank, { type: 'ConversationSettled', settled: conversation, progress, isHeld });
    options.onSettled?.();
    goOn();
  };

  const republish = (ranks: readonly Rank[]): void => {
    if (!isGoingOn()) return;
    for (const rank of ranks)
      if (schedule.isGenerating(rank)) children.tellWave(rank, { type: 'RepublishConversation', rank });
  };

  const unheld = (): Rank[] => schedule.generating().filter((rank) => !crew.isHeld(rank));
  const fillQueue = (ranks: readonly Rank[]): void => {
    if (!isGoingOn()) return;
    for (const rank of ranks) children.tellWave(rank, { type: 'OpenConversation', rank, isHeld: false });
  };

  const claim = ({ rank, worker, replyTo }: Extract<CoordinatorMessage, { type: 'ClaimWork' }>): void => {
    const standing = schedule.standing(rank);
    const answer = (type: ClaimReply['type']): void => context.reply(replyTo, { epoch, type });
    if (standing !== 'to_come') return answer(standing);
    if (phase.type !== 'running' || !isWarm || !crew.isAble(workerKey(worker))) return answer('not_now');
    if (crew.isHeldByOther(rank, worker)) return answer('held');
    crew.grant(rank, worker);
    answer('granted');
  };

  // ---- workers ------------------------------------------------------------------------------------

  const heard = (here: WorkerHere): void => {
    const { worker, lacks } = here;
    const { joined, trouble, unheld: dropped } = crew.heard(here);
    if (joined) welcome(here);
    if (isOver()) return;
    if (trouble !== null) {
      const text = `[run] ${workerName(worker)} cannot go on and hands back what it has (${trouble.code}): ${trouble.message}`;
      context.logger.log('warn', 'run', text);
    }
    if (lacks.length > 0 && joined) {
      const text = `[run] ${workerName(worker)} takes no conversations: its environment lacks ${lacks.join(', ')}`;
      context.logger.log('warn', 'run', text);
    }
    warmUp();
    republish(dropped);
    notices.tell(worker);
    goOn();
  };

  /** The run's end is the last of its events: whoever follows it has left. */
  const note = (events: readonly RunEvent[]): void => {
    if (!isOver()) log.note(events);
  };

  const welcome = ({ worker, lacks }: WorkerHere): void => {
    const key = workerKey(worker);
    context.watch(worker, (terminated) => ({ type: 'WorkerEnded', worker: key, terminated }));
    if (held.workers.has(key)) return;
    held.workers.set(key, worker);
    note([{ type: 'WorkerJoined', worker: workerName(worker), lacks }]);
  };

  const workerEnded = (key: string, { reason }: Terminated): void => {
    held.workers.delete(key);
    const lost = crew.lost(key);
    if (lost === null) return;
    if (reason !== 'stopped' || lost.held > 0)
      note([{ type: 'WorkerLost', worker: lost.name, conversations: lost.held }]);
    warmUp();
    // Also what it may have had from the queue and not asked for yet.
    republish(unheld());
    goOn();
  };

  const warmUp = (): void => {
    isWarm ||= crew.hasReported(options.livingWorkers());
  };

  // ---- the run ------------------------------------------------------------------------------------

  const isDrained = (): boolean => isWarm && crew.isDrained;
  const endOfAll = (): RunEnd => finalEnd(schedule.progress(), languages, log.record.languages);

  const goOn = (): void => {
    admit();
    commitNext();
    // One node's trouble is its own; that of all who could do the work is the run's.
    const trouble = isWarm ? crew.troubleOfAll : null;
    if (trouble !== null) drain({ type: 'failed', trouble });
    if (isGoingOn() && schedule.done) {
      const how = endOfAll();
      // A language that was given up may still have calls in flight; they are journalled first.
      if (how.type === 'completed') end(how);
      else drain(how);
    }
    if (phase.type === 'draining' && committing === null && (phase.isOver || isDrained()))
      // Everything may have been settled while the run was asked to stop.
      end(phase.end.type === 'interrupted' && schedule.done ? endOfAll() : phase.end);
    if (!isOver()) notices.tellAll();
  };

  const drain = (how: RunEnd): void => {
    if (!isGoingOn()) return;
    held.ending = how;
    phase = { type: 'draining', end: how, isOver: false };
    context.after(options.shutdownGraceMs, { type: 'GraceOver' });
    goOn();
  };

  const graceOver = (): void => {
    if (phase.type !== 'draining') return;
    const text = '[run] calls in flight were cut off: they did not end within the grace';
    context.logger.log('warn', 'run', text);
    phase = { ...phase, isOver: true };
    goOn();
  };

  const end = (how: RunEnd): void => {
    phase = { type: 'ended', end: how, isTold: false };
    log.note([{ type: 'RunEnded', end: how }]);
  };

  /** Invariant 4. */
  const tellEnd = (): void => {
    if (phase.type !== 'ended' || phase.isTold || !log.isDurable || statusWrites > 0) return;
    phase = { ...phase, isTold: true };
    options.onEnd(phase.end);
  };

  const supersede = (error: unknown): void => {
    if (isOver()) return;
    phase = { type: 'superseded' };
    const outcome: Outcome = { type: 'superseded', message: messageOf(error) };
    options.onEnd(outcome);
  };

  const heed = (wanted: RunWanted | null): void => {
    if (wanted === 'cancel') return drain({ type: 'cancelled' });
    if (wanted === 'pause' && phase.type === 'running') pause();
    else if (wanted === 'run' && phase.type === 'paused') resume();
  };

  const pause = (): void => {
    phase = { type: 'paused' };
    const why = options.whyPaused?.() ?? null;
    if (!log.record.isPaused) log.note([{ type: 'RunPaused', reason: why ?? 'asked for' }]);
    setStatus('paused', why);
    goOn();
  };

  const resume = (): void => {
    phase = { type: 'running' };
    log.note([{ type: 'RunResumed' }]);
    setStatus('running', null);
    goOn();
  };

  const setStatus = (status: RunStatus, why: string | null): void => {
    statusWrites += 1;
    context.pipe(
      store.setRunStatus(runId, lease, status, why),
      () => ({ type: 'StatusSet', error: null }),
      (error) => ({ type: 'StatusSet', error }),
    );
  };

  const statusSet = (error: unknown): void => {
    statusWrites -= 1;
    if (isDlgforgeError(error, 'stale_epoch')) return supersede(error);
    if (error !== null)
      context.logger.log('warn', 'run', `[run] its status could not be stored: ${messageOf(error)}`);
    tellEnd();
  };

  const askWanted = (): void => {
    if (options.wanted === undefined || isAsking) return;
    isAsking = true;
    context.pipe(
      options.wanted(),
      (wanted) => ({ type: 'WantedKnown', wanted }),
      // The database is away; it is asked again in a second.
      () => ({ type: 'WantedKnown', wanted: null }),
    );
  };

  const tick = (): void => {
    ticks += 1;
    warmUp();
    republish(crew.tick());
    if (ticks % SWEEP_TICKS === 0) republish(crew.sweep(schedule.generating()));
    askWanted();
    context.after(TICK_MS, { type: 'Tick' });
    goOn();
  };

  const gatherView = (replyTo: ReplyTo<RunView>): void =>
    context.pipe(
      children.waveViews(),
      (views) => ({ type: 'ViewReady', views, replyTo }),
      (error) => {
        throw error;
      },
    );

  const view = (views: readonly (WaveView | null)[]): RunView => ({
    phase: phase.type === 'superseded' ? 'ended' : phase.type,
    epoch,
    languages: schedule
      .progress()
      .map((progress, i) => ({ ...progress, open: views[i]?.open ?? 0, turns: views[i]?.turns ?? 0 })),
    open: schedule.openCount,
    waiting: schedule.waitingCount,
    workers: crew.views(),
  });

  context.after(WARM_UP_MS, { type: 'WarmUpOver' });
  for (const worker of held.workers.values()) notices.tell(worker);
  if (held.ending !== null) drain(held.ending);
  else if (life.wanted === 'run' && log.record.isPaused) resume();
  else heed(life.wanted);
  tick();

  return {
    receive(message) {
      switch (message.type) {
        case 'WorkerHere':
          return heard(message);
        case 'ClaimWork':
          return claim(message);
        case 'WorkerEnded':
          return workerEnded(message.worker, message.terminated);
        case 'ConversationHandedOver':
          setFinished(message.rank, true);
          return goOn();
        case 'ConversationSentBack':
          committing = null;
          setFinished(message.rank, false);
          if (!crew.isHeld(message.rank)) republish([message.rank]);
          return goOn();
        case 'ConversationSettled':
          return settled(message.settled);
        case 'EventsWritten':
          log.written();
          return tellEnd();
        case 'StopRun':
          return drain({ type: 'interrupted' });
        case 'WantedChanged':
          return askWanted();
        case 'WantedKnown':
          isAsking = false;
          return heed(message.wanted);
        case 'StatusSet':
          return statusSet(message.error);
        case 'GraceOver':
          return graceOver();
        case 'WarmUpOver':
          isWarm = true;
          return goOn();
        case 'Tick':
          return tick();
        case 'QueueLost':
          return fillQueue(unheld());
        case 'CommitterEnded':
          // Every other failure escalates and restarts this actor.
          if (isDlgforgeError(message.terminated.error, 'stale_epoch')) supersede(message.terminated.error);
          return;
        case 'GetRunView':
          return gatherView(message.replyTo);
        case 'ViewReady':
          return context.reply(message.replyTo, view(message.views));
        default:
          return unreachable(message);
      }
    },
    stopped: () => endQueueWatch(),
  };
}
