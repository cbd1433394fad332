/**
 * Runs the conversations that the work queue hands to it, each as an actor of its own, once the run's
 * coordinator has granted them. A conversation that keeps failing is dropped with its reason and the run
 * goes on (I11); a failure that is not the conversation's own stops the run, resumably.
 *
 * Owns: the deliveries in hand.
 * Invariants: 1. commit, then ack: a delivery is acknowledged when the conversation is settled, or nobody
 * is to go on with it in this run; 2. a delivery that is another's leaves these hands without a word to the
 * queue; 3. it obeys the newest leader it has heard of, and no older one (I2).
 */
import { conversationIdOf } from '../dialogue/settings.ts';
import type { Rank } from '../dialogue/schedule.ts';
import { isDlgforgeError, messageOf, unreachable } from '../kernel/errors.ts';
import type { Delivery, WorkConsumer, WorkQueue } from '../ports/work-queue.ts';
import { fairShareOf } from './fair-share.ts';
import { conversation, type ConversationOptions } from './conversation.ts';
import { decodeClaimReply, decodeWorkerMessage } from './decode-messages.ts';
import { crashed } from './hand-over.ts';
import type {
  ClaimReply,
  CoordinatorMessage,
  HandOver,
  RunNotice,
  RunTrouble,
  WorkerMessage,
} from './messages.ts';
import type { ActorContext, ActorDefinition, Behaviour, ReplyTo, Terminated } from './runtime/types.ts';
import { isRunLevel } from './run-level-failure.ts';
import { type Held, type InHand, WorkInHand } from './work-in-hand.ts';

export interface WorkerOptions extends ConversationOptions {
  readonly runId: string;
  readonly queue: WorkQueue;
  /** Environment variables that the run's roles need and this node has not; with any it takes nothing. */
  readonly lacks: readonly string[];
}

const TICK_MS = 1_000;
const TROUBLE_TICKS = 60;
const RENEW_TICKS = 5;
const CLAIM_TRY_MS = 5_000;
const CLAIM_PAUSE_MS = 250;
export function worker(options: WorkerOptions): ActorDefinition<WorkerMessage> {
  const held: Held = { notice: null, isHandingBack: false, trouble: null, troubleTicks: 0 };
  return {
    kind: 'worker',
    mailbox: { capacity: 65_536 },
    restart: { maxRestarts: 5, withinMs: 60_000, onGivenUp: 'escalate' },
    decode: decodeWorkerMessage,
    start: (context) => createWorker(options, held, context),
  };
}

function createWorker(
  options: WorkerOptions,
  held: Held,
  context: ActorContext<WorkerMessage>,
): Behaviour<WorkerMessage> {
  const { directory, lacks, runId, queue } = options;
  const inHand = new WorkInHand();
  const life = context.restarts;
  let waitingForEmpty: ReplyTo<'handed_back'>[] = [];
  /** Gone from here; the queue hears of it after the coordinator. */
  let leaving: { readonly delivery: Delivery; readonly how: 'release' | 'forget' }[] = [];
  let ticks = 0;

  const phase = (): RunNotice['phase'] | null => held.notice?.phase ?? null;
  const isLeft = ({ languageIndex }: Rank): boolean =>
    held.notice?.leftLanguages.includes(languageIndex) === true;
  const isGivingUp = (): boolean => held.isHandingBack || held.trouble !== null;
  const mayCall = (rank: Rank): boolean => phase() === 'running' && !isGivingUp() && !isLeft(rank);

  const capacity = (): number => (held.notice === null || isGivingUp() ? 0 : fairShareOf(held.notice));

  // A delivery has functions and is this process's own, so it comes in by a pipe and not as a message.
  const consumer: WorkConsumer | null =
    lacks.length > 0
      ? null
      : queue.consume(runId, capacity(), (delivery) =>
          context.pipe(
            Promise.resolve(delivery),
            (ready) => ({ type: 'TakeWork', delivery: ready, life }),
            neverFails,
          ),
        );
  const endLeaderWatch = directory.onLeaderChange(() =>
    context.tell(context.self, { type: 'LeaderChanged' }),
  );

  // ---- what the coordinator hears -----------------------------------------------------------------

  const isDrained = (): boolean => phase() === 'draining' && inHand.isDrained;

  const report = (): void => {
    const coordinator = directory.coordinator();
    if (coordinator === null) return;
    context.tell(coordinator, {
      type: 'WorkerHere',
      worker: context.self,
      held: inHand.ranks('running', 'crashed'),
      claiming: inHand.ranks('claiming'),
      lacks,
      // The run ends anyway; when it is resumed, this worker is tried anew.
      trouble: phase() === 'draining' ? null : held.trouble,
      drained: isDrained(),
    });
  };

  /** The coordinator ends the run if nobody else can go on with it. */
  const reportTrouble = (trouble: RunTrouble): void => {
    if (held.trouble !== null) return;
    held.trouble = trouble;
    report();
    consumer?.setCapacity(capacity());
    steer();
  };

  // ---- deliveries ---------------------------------------------------------------------------------

  const take = (delivery: Delivery): void => {
    const name = inHand.take(delivery);
    if (name !== null) claim(name);
  };

  const claim = (name: string): void => {
    const entry = inHand.get(name);
    if (entry === undefined) return;
    const { rank, stage } = entry;
    if (stage.type === 'waiting') {
      if (isGivingUp()) return letGo(entry, 'release');
      if (isLeft(rank)) return letGo(entry, 'ack');
      if (phase() !== 'running') return;
      entry.stage = { type: 'claiming' };
    } else if (stage.type !== 'crashed') return;
    const coordinator = directory.coordinator();
    context.pipe(
      coordinator === null
        ? Promise.resolve(null)
        : context
            .ask<CoordinatorMessage, ClaimReply>(
              coordinator,
              (replyTo) => ({ type: 'ClaimWork', rank, worker: context.self, replyTo }),
              { timeoutMs: CLAIM_TRY_MS },
            )
            .then(decodeClaimReply),
      (reply) => ({ type: 'WorkClaimed', name, reply }),
      // Nobody leads the run at the moment, or the question was lost.
      () => ({ type: 'WorkClaimed', name, reply: null }),
    );
  };

  const claimed = (name: string, reply: ClaimReply | null): void => {
    const entry = inHand.get(name);
    if (entry === undefined) return;
    const { stage } = entry;
    const answer = reply === null || isOld(reply.epoch) ? 'not_now' : reply.type;
    if (stage.type === 'crashed') {
      // Only whose it is may end it (I2).
      if (answer === 'granted') handOverDrop(stage.handOver);
      if (answer === 'held') letGo(entry, 'forget');
      if (answer === 'settled' || answer === 'left') letGo(entry, 'ack');
      return;
    }
    if (stage.type !== 'claiming') return;
    switch (answer) {
      case 'granted':
        if (mayCall(entry.rank)) return start(entry);
        return putBack(entry);
      case 'held':
        return letGo(entry, 'forget');
      case 'settled':
      case 'left':
        return letGo(entry, 'ack');
      case 'not_now':
        putBack(entry);
        context.after(CLAIM_PAUSE_MS, { type: 'ClaimAgain', name });
        return;
      default:
        return unreachable(answer);
    }
  };

  const putBack = (entry: InHand): void => {
    entry.stage = { type: 'waiting' };
    // Nobody here is to do it any more; otherwise it is asked for again later.
    if (isGivingUp() || isLeft(entry.rank)) claim(entry.name);
  };

  const isOld = (epoch: number): boolean => epoch < (held.notice?.epoch ?? 0);

  const start = (entry: InHand): void => {
    const { name, delivery } = entry;
    const actor = context.spawn(name, conversation(options, delivery.item, context.self, name));
    entry.stage = {
      type: 'running',
      actor,
      mayCall: true,
      drainOrder: 0,
      isDrained: false,
      isLeaving: false,
    };
    context.watch(actor, (terminated) => ({ type: 'ConversationEnded', name, terminated }));
  };

  /** Before the queue hears of it the coordinator does, so that it grants the conversation to whoever asks next. */
  const letGo = ({ name, delivery }: InHand, how: 'ack' | 'release' | 'forget'): void => {
    inHand.remove(name);
    if (how === 'ack') {
      delivery.ack();
      return answerWhenEmpty();
    }
    leaving.push({ delivery, how });
    // Many leave at once when a node does: one report is enough for those that have by then.
    if (leaving.length === 1) context.tell(context.self, { type: 'TellLeft' });
  };

  const tellLeft = (): void => {
    report();
    for (const { delivery, how } of leaving) delivery[how]();
    leaving = [];
    answerWhenEmpty();
  };

  const answerWhenEmpty = (): void => {
    if (!inHand.isEmpty || leaving.length > 0) return;
    for (const replyTo of waitingForEmpty) context.reply(replyTo, 'handed_back');
    waitingForEmpty = [];
  };

  // ---- conversations ------------------------------------------------------------------------------

  const ended = (name: string, { reason, error }: Terminated): void => {
    const entry = inHand.get(name);
    if (entry?.stage.type !== 'running') return;
    // Invariant 1: one that stops by itself has been settled.
    if (reason === 'stopped')
      return letGo(entry, entry.stage.isLeaving && !isLeft(entry.rank) ? 'release' : 'ack');
    if (isDlgforgeError(error, 'stale_epoch')) {
      context.logger.log(
        'warn',
        'run',
        `[worker] conversation ${name} went on elsewhere: ${messageOf(error)}`,
      );
      return letGo(entry, 'forget');
    }
    if (isRunLevel(error)) {
      reportTrouble({ code: error.code, message: error.message });
      return letGo(entry, 'forget');
    }
    drop(entry, error);
  };

  const drop = (entry: InHand, error: unknown): void => {
    const { rank } = entry;
    const { settings } = options.dialogue;
    const id = conversationIdOf(settings, rank.languageIndex, rank.index);
    const handOver = crashed(rank, id, messageOf(error));
    context.logger.log('error', 'run', `[worker] ${id} failed again and again: ${messageOf(error)}`);
    entry.stage = { type: 'crashed', handOver };
    claim(entry.name);
  };

  const handOverDrop = (handOver: HandOver): void => {
    const committer = directory.committer();
    if (committer !== null) context.tell(committer, handOver);
  };

  /** Brings what is in hand in line with what the run, its language and this node want now. */
  const steer = (): void => {
    for (const entry of inHand.all()) {
      const { stage, rank } = entry;
      if (stage.type === 'waiting') claim(entry.name);
      if (stage.type === 'crashed' && isGivingUp()) letGo(entry, 'release');
      if (stage.type !== 'running') continue;
      if (stage.mayCall !== mayCall(rank)) {
        stage.mayCall = !stage.mayCall;
        stage.isDrained = false;
        if (stage.mayCall) context.tell(stage.actor, { type: 'GoOn' });
        else context.tell(stage.actor, { type: 'Drain', order: (stage.drainOrder += 1) });
      }
      leaveIfDrained(entry);
    }
  };

  const leaveIfDrained = ({ rank, stage }: InHand): void => {
    if (stage.type !== 'running' || !stage.isDrained || stage.isLeaving) return;
    if (!isGivingUp() && !isLeft(rank)) return;
    stage.isLeaving = true;
    void context.stop(stage.actor);
  };

  const conversationDrained = (name: string, order: number): void => {
    const entry = inHand.get(name);
    if (entry?.stage.type !== 'running' || entry.stage.mayCall || entry.stage.drainOrder !== order) return;
    entry.stage.isDrained = true;
    leaveIfDrained(entry);
    if (isDrained()) report();
  };

  // ---- the run ------------------------------------------------------------------------------------

  const heed = (notice: RunNotice): void => {
    const last = held.notice;
    if (
      last !== null &&
      (notice.epoch < last.epoch || (notice.epoch === last.epoch && notice.term < last.term))
    )
      return;
    const isNewLeader = last?.epoch !== notice.epoch || last.term !== notice.term;
    held.notice = notice;
    // It has ended, and somebody wants it to go on: perhaps with what was lacking.
    if (isNewLeader && last?.phase === 'draining' && notice.phase !== 'draining') held.trouble = null;
    directory.isLastWindow = notice.isLastWindow;
    consumer?.setCapacity(capacity());
    const wasDrained = last?.phase === 'draining' && !isNewLeader;
    steer();
    if (isNewLeader) remindOfHandOvers();
    if (isNewLeader || (notice.phase === 'draining' && !wasDrained)) report();
  };

  /** What the last one was told may be lost with it. */
  const remindOfHandOvers = (): void => {
    for (const { name, stage } of inHand.all()) {
      if (stage.type === 'running') context.tell(stage.actor, { type: 'RemindCommitter', step: null });
      if (stage.type === 'crashed') claim(name);
    }
  };

  /** A node's trouble may pass; as long as others go on with the run there is time to try again. */
  const tryAgain = (): void => {
    held.troubleTicks = held.trouble === null ? 0 : held.troubleTicks + 1;
    if (held.troubleTicks < TROUBLE_TICKS || inHand.all().length > 0) return;
    held.trouble = null;
    consumer?.setCapacity(capacity());
    steer();
  };

  const tick = (): void => {
    ticks += 1;
    tryAgain();
    report();
    for (const { name, delivery, stage } of inHand.all()) {
      if (ticks % RENEW_TICKS === 0) delivery.renew();
      if (stage.type === 'crashed') claim(name);
    }
    context.after(TICK_MS, { type: 'Tick' });
  };

  const handBack = (replyTo: ReplyTo<'handed_back'>): void => {
    held.isHandingBack = true;
    waitingForEmpty.push(replyTo);
    consumer?.setCapacity(0);
    steer();
    answerWhenEmpty();
  };

  tick();
  return {
    receive(message) {
      switch (message.type) {
        case 'TakeWork':
          if (message.life === life) take(message.delivery);
          return;
        case 'WorkClaimed':
          return claimed(message.name, message.reply);
        case 'ClaimAgain':
          return claim(message.name);
        case 'ConversationEnded':
          return ended(message.name, message.terminated);
        case 'ConversationDrained':
          return conversationDrained(message.name, message.order);
        case 'ReportTrouble':
          return reportTrouble(message.trouble);
        case 'TellLeft':
          return tellLeft();
        case 'RunNotice':
          return heed(message);
        case 'LeaderChanged':
          return report();
        case 'Tick':
          return tick();
        case 'HandBack':
          return handBack(message.replyTo);
        default:
          return unreachable(message);
      }
    },
    stopped() {
      endLeaderWatch();
      consumer?.close();
    },
  };
}

function neverFails(error: unknown): never {
  throw error;
}
