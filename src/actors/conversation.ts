/**
 * One conversation: the shell around `dialogue/conversation.ts`. Decode, decide, append, evolve, then
 * run the effects; every result comes back as a command that carries the step it belongs to.
 *
 * Invariants: I1 (an answer is appended before anything depends on it: `persist` precedes effects) and
 * I2 (appends carry the epoch of this actor's hold; a stale one ends it).
 */
import type { InputsBase } from '../dialogue/conversation-record.ts';
import {
  type ConversationCommand,
  decide,
  type DialogueContext,
  type Effect,
  effectsOf,
} from '../dialogue/conversation.ts';
import {
  type ConversationEvent,
  type ConversationState,
  initialConversation,
} from '../dialogue/conversation-state.ts';
import { evolve } from '../dialogue/evolve-conversation.ts';
import type { ModelAnswer, Role } from '../dialogue/chat.ts';
import { conversationIdOf } from '../dialogue/settings.ts';
import { searchResult } from '../dialogue/tools.ts';
import { type DlgforgeError, invariant, isDlgforgeError, unreachable } from '../kernel/errors.ts';
import { persistenceId, runId as toRunId } from '../kernel/ids.ts';
import type { WebSearch } from '../ports/retriever.ts';
import { type Journal, runPrefix } from '../ports/store.ts';
import type { WorkItem } from '../ports/work-queue.ts';
import {
  CONVERSATION_SNAPSHOT_VERSION,
  decodeConversationEvent,
  decodeConversationSnapshot,
} from '../protocol/stored-events.ts';
import { isPaidFor, journalledAnswer } from './paid-answers.ts';
import { logEvents } from './conversation-log.ts';
import { decodeConversationMessage } from './decode-messages.ts';
import type { RunDirectory } from './directory.ts';
import type { ModelCalls } from './endpoint-router/model-calls.ts';
import { createEnquiries } from './enquiries.ts';
import { createHandingOver } from './handing-over.ts';
import type { CommitterSays, ConversationMessage, WorkerMessage } from './messages.ts';
import { type Persistence, persistentActor } from './runtime/persistent-actor.ts';
import type { ActorContext, ActorDefinition, ActorRef, Behaviour } from './runtime/types.ts';

export interface ConversationOptions {
  readonly dialogue: DialogueContext;
  readonly inputs: InputsBase;
  readonly journal: Journal;
  readonly modelCalls: ModelCalls;
  /** The name that records give the model which answered. */
  readonly usedName: (role: Role, endpoint: string) => string;
  readonly webSearch: WebSearch | null;
  readonly directory: RunDirectory;
}

/** A conversation has some fifteen events a turn; reading them is cheaper than writing its state often. */
const SNAPSHOT_EVERY = 256;
/** The journal of a conversation. */
export const conversationPersistenceId = (runId: string, languageIndex: number, index: number) =>
  persistenceId(`${runPrefix(toRunId(runId))}${languageIndex}/${index}`);

export function conversation(
  options: ConversationOptions,
  item: WorkItem,
  worker: ActorRef<WorkerMessage>,
  name: string,
): ActorDefinition<ConversationMessage> {
  const { runId, languageIndex, index, priority } = item;
  const held: Held = { admission: new AbortController(), drainOrder: 0, epoch: 0 };
  return persistentActor<ConversationState, ConversationEvent, ConversationMessage>({
    kind: 'conversation',
    decode: decodeConversationMessage,
    id: conversationPersistenceId(runId, languageIndex, index),
    journal: options.journal,
    initial: initialConversation({ runId, languageIndex, index }),
    evolve,
    decodeEvent: decodeConversationEvent,
    snapshot: {
      every: SNAPSHOT_EVERY,
      encode: (state) => ({ version: CONVERSATION_SNAPSHOT_VERSION, state }),
      decode: decodeConversationSnapshot,
    },
    restart: {
      maxRestarts: 4,
      withinMs: 600_000,
      backoffMinMs: 200,
      backoffMaxMs: 10_000,
      onGivenUp: 'stop',
    },
    behave: (context, persistence) =>
      createConversation({ ...options, worker, name, priority, held }, context, persistence),
  });
}

/** What a restart must not forget. */
interface Held {
  /**
   * Aborted when no further model call may be made, because the run is paused or stopped; a call under way may
   * finish. Another takes its place when the run goes on.
   */
  admission: AbortController;
  /** Of the last `Drain`. */
  drainOrder: number;
  /** The highest that a committer has spoken under. */
  epoch: number;
}

interface ShellOptions extends ConversationOptions {
  readonly worker: ActorRef<WorkerMessage>;
  readonly name: string;
  readonly priority: number;
  readonly held: Held;
}

function createConversation(
  options: ShellOptions,
  context: ActorContext<ConversationMessage>,
  persistence: Persistence<ConversationState, ConversationEvent>,
): Behaviour<ConversationMessage> {
  const { dialogue, directory, worker, name, held } = options;
  const { languageIndex, index } = persistence.state.key;
  const rank = { languageIndex, index };
  const conversationId = conversationIdOf(dialogue.settings, languageIndex, index);
  const enquiries = createEnquiries(context, directory, rank);
  const committing = createHandingOver({
    context,
    directory,
    worker,
    conversationId,
    state: () => persistence.state,
    settings: dialogue.settings,
    inputs: options.inputs,
  });
  let callsInFlight = 0;
  /** The contact with the others in which the journal was known to be this actor's. */
  let confirmedIn = directory.contacts();
  /** Call ids of the web searches among them. */
  const webSearches = new Set<string>();
  /** The step whose effects have been started. */
  let startedStep = -1;
  /** Calls that were not made because none may be. */
  let heldBack: Effect[] = [];

  const command = (next: ConversationCommand): ConversationMessage => ({ type: 'Command', command: next });
  const failed = (error: unknown): ConversationMessage => ({ type: 'EffectFailed', error });

  const receive = async (message: ConversationMessage): Promise<void> => {
    switch (message.type) {
      case 'Command':
        return obey(message.command);
      case 'CommitterSays':
        return heed(message);
      case 'EffectFailed':
        return effectFailed(message.error);
      case 'CallFailed':
        return callFailed(message.effect, message.error);
      case 'HandOverAnswered':
        return committing.answered(message.error);
      case 'Drain':
        held.admission.abort();
        held.drainOrder = message.order;
        return reportDrained();
      case 'GoOn':
        return goOn();
      case 'RemindCommitter':
        return committing.remind(message.step);
      default:
        return unreachable(message);
    }
  };

  const obey = async (next: ConversationCommand): Promise<void> => {
    const wasCall = next.type === 'TakeAnswer' || next.type === 'TakeRefusal';
    if (wasCall || (next.type === 'TakeToolResult' && webSearches.delete(next.callId))) callsInFlight -= 1;
    const events = decide(persistence.state, next, dialogue);
    if (events.length > 0) {
      // What costs nothing to find out again need not be durable before it is used; it travels with what does.
      if (events.some(isPaidFor)) await persistence.persist(events);
      else persistence.defer(events);
      logEvents(context.logger, persistence.state, events, conversationId);
      for (const event of events)
        if (event.type === 'TurnAccepted' || event.type === 'VerdictGiven') tellTurnAccepted();
    }
    startEffects();
    reportDrained();
  };

  /** One that has been replaced speaks of a frontier that has moved on (I2). */
  const heed = async ({ epoch, command: said }: CommitterSays): Promise<void> => {
    if (epoch < held.epoch) return;
    held.epoch = epoch;
    if (said.type !== 'HandOverAgain') await obey(said);
    else if (persistence.state.stage.type === 'ready') committing.handOver();
  };

  const goOn = (): void => {
    if (!held.admission.signal.aborted) return;
    held.admission = new AbortController();
    const { step } = persistence.state;
    const effects = heldBack;
    heldBack = [];
    for (const effect of effects) if ('step' in effect && effect.step === step) start(effect);
  };

  const tellTurnAccepted = (): void => {
    const wave = directory.wave(languageIndex);
    if (wave !== null)
      context.tell(wave, { type: 'TurnAccepted', rank, turn: persistence.state.turns.length });
  };

  /** A failure that is nobody's fault but the moment's: this actor is restarted and asks again. */
  const effectFailed = (error: unknown): void => {
    if (isDlgforgeError(error, 'timeout')) return reportTrouble(error);
    if (!isDlgforgeError(error, 'cancelled')) throw error;
  };

  /** Every other conversation would meet it too. */
  const reportTrouble = ({ code, message }: DlgforgeError): void =>
    context.tell(worker, { type: 'ReportTrouble', trouble: { code, message } });

  /** A call that nobody can answer is not this conversation's trouble. */
  const callFailed = (effect: Effect, error: unknown): void => {
    callsInFlight -= 1;
    if (isDlgforgeError(error, 'endpoint') || isDlgforgeError(error, 'credentials')) reportTrouble(error);
    else if (isDlgforgeError(error, 'cancelled')) callAgain(effect);
    else throw error;
    reportDrained();
  };

  /** It was waiting for its turn when no more calls were to be made; that may be over already. */
  const callAgain = (effect: Effect): void => {
    if (!('step' in effect) || effect.step !== persistence.state.step) return;
    if (held.admission.signal.aborted) heldBack.push(effect);
    else start(effect);
  };

  const reportDrained = (): void => {
    if (held.admission.signal.aborted && callsInFlight === 0)
      context.tell(worker, { type: 'ConversationDrained', name, order: held.drainOrder });
  };

  const startEffects = (): void => {
    const { state } = persistence;
    if (state.step === startedStep) return;
    startedStep = state.step;
    heldBack = [];
    if (state.stage.type === 'settled') return context.stopSelf();
    for (const effect of effectsOf(state, dialogue)) start(effect);
  };

  const start = (effect: Effect): void => {
    switch (effect.type) {
      case 'GatherEvidence':
        return context.pipe(
          enquiries.gather(effect.evidence),
          (passages) => command({ type: 'TakeEvidence', step: effect.step, passages }),
          failed,
        );
      case 'AskModel':
        return askModel(effect);
      case 'CheckQuestion':
        return context.pipe(
          enquiries.checkQuestion(effect.questionKey),
          (finding) => command({ type: 'TakeQuestionCheck', step: effect.step, finding }),
          failed,
        );
      case 'UseTool':
        return useTool(effect);
      case 'HandOver':
        return committing.handOver();
      default:
        return unreachable(effect);
    }
  };

  const askModel = (effect: Extract<Effect, { type: 'AskModel' }>): void => {
    const admission = held.admission.signal;
    if (admission.aborted) {
      heldBack.push(effect);
      return;
    }
    const { step, purpose, asked } = effect;
    const { request } = asked;
    callsInFlight += 1;
    const take = (answer: ModelAnswer, usedName: string, reusedSeq: number | null): ConversationMessage =>
      command({ type: 'TakeAnswer', step, purpose, asked, usedName, answer, reusedSeq });
    const call = async (): Promise<ConversationMessage> => {
      if (effect.answeredAt !== null) {
        const known = await journalledAnswer(options.journal, persistence.id, effect.answeredAt);
        if (known !== null) return take(known.answer, known.usedName, effect.answeredAt);
      }
      const result = await options.modelCalls.call(request, {
        conversation: conversationId,
        priority: priorityNow(),
        signal: context.signal,
        admission: AbortSignal.any([admission, context.signal]),
        confirm,
      });
      if (result.type === 'refused')
        return command({ type: 'TakeRefusal', step, purpose, reason: result.reason });
      return take(result.answer, options.usedName(request.role, result.answer.endpoint), null);
    };
    context.pipe(
      call(),
      (message) => message,
      (error) => ({ type: 'CallFailed', effect, error }),
    );
  };

  /**
   * While this node was out of contact, another may have gone on with the conversation: what that one has
   * journalled is not to be paid for again (I1).
   */
  const confirm = async (): Promise<void> => {
    for (let now = directory.contacts(); now !== confirmedIn; now = directory.contacts()) {
      await persistence.confirm();
      confirmedIn = now;
    }
  };

  /**
   * Smaller is served first. While there is more to open it is the order of admission, so that commits keep
   * up; in the last window the turns that are left decide, so that no long conversation is left over.
   */
  const priorityNow = (): number => {
    if (!directory.isLastWindow) return options.priority;
    const { plan, turns } = persistence.state;
    return turns.length - (plan?.turnCount ?? 0) + options.priority * 1e-9;
  };

  const useTool = (effect: Extract<Effect, { type: 'UseTool' }>): void => {
    const { step, call, action } = effect;
    const taken = (result: Readonly<Record<string, unknown>>): ConversationMessage =>
      command({ type: 'TakeToolResult', step, callId: call.id, arguments: action.arguments, result });
    // What fails here is told to the model, which can answer without it (A8).
    // What only says that somebody is busy is asked again: timing must not get into an answer (I5).
    const toolFailed = (error: unknown): ConversationMessage =>
      isDlgforgeError(error, 'retrieval') ? taken({ error: error.message }) : failed(error);
    switch (action.type) {
      case 'answer':
        return context.tell(context.self, taken(action.result));
      case 'search':
        return context.pipe(
          enquiries.search(action.query, action.k),
          (passages) => taken(searchResult(action.query, passages)),
          toolFailed,
        );
      case 'web':
        return searchWeb(effect, action.query, taken);
      default:
        return unreachable(action);
    }
  };

  /** Paid for like a model call, so stopping waits for it too. */
  const searchWeb = (
    effect: Extract<Effect, { type: 'UseTool' }>,
    query: string,
    taken: (result: Readonly<Record<string, unknown>>) => ConversationMessage,
  ): void => {
    const { webSearch } = options;
    invariant(webSearch !== null, 'web search is offered only when it is there');
    if (held.admission.signal.aborted) {
      heldBack.push(effect);
      return;
    }
    callsInFlight += 1;
    webSearches.add(effect.call.id);
    context.pipe(
      confirm().then(() => webSearch.search(query, context.signal)),
      (result) => taken({ ...result }),
      (error) => ({ type: 'CallFailed', effect, error }),
    );
  };

  // An imported journal may end between two turns; any command goes on from there.
  const { type } = persistence.state.stage;
  if (type === 'new' || type === 'between_turns')
    context.tell(context.self, command({ type: 'StartConversation' }));
  else startEffects();
  reportDrained();
  return { receive };
}
