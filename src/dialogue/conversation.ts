/**
 * The conversation machine: `decide` turns a command into events, `effectsOf` says what a state waits
 * for. Nothing here does anything; the actor around it does (ARCHITECTURE.md, "How a conversation runs").
 *
 * A result carries the step that asked for it. A late one changes nothing but is kept if it was paid for.
 */
import { invariant, unreachable } from '../kernel/errors.ts';
import type { ModelAnswer, ToolCall } from './chat.ts';
import {
  type ConversationEvent,
  type ConversationState,
  type DropReason,
  type Exchange,
  openAttempt,
  type Purpose,
  type Stage,
} from './conversation-state.ts';
import { type EvidenceRequest, evidenceFor } from './evidence.ts';
import { evolve } from './evolve-conversation.ts';
import { parseOutput } from './outputs.ts';
import type { Passage } from './passage.ts';
import type { Planner } from './planner.ts';
import { normaliseQuestion, questionKey } from './question-key.ts';
import { outputKindOf, type RequestContext, requestFor } from './requests.ts';
import { type DialogueSettings, TOOL_CALLS_PER_ROUND_MAX, TOOL_ROUNDS_MAX } from './settings.ts';
import { type KeyedRequest, keyed, toStored } from './stored-request.ts';
import { interpretToolCall, readableArguments, type ToolAction } from './tools.ts';

/** Everything that is the same for all conversations of a run. */
export interface DialogueContext extends RequestContext {
  readonly settings: DialogueSettings;
  readonly planner: Planner;
}

export type ConversationCommand =
  | { readonly type: 'StartConversation' }
  | { readonly type: 'TakeEvidence'; readonly step: number; readonly passages: readonly Passage[] }
  | {
      readonly type: 'TakeAnswer';
      readonly step: number;
      readonly purpose: Purpose;
      readonly asked: KeyedRequest;
      readonly usedName: string;
      readonly answer: ModelAnswer;
      /** Journal position when the answer was already there; it is not stored again. */
      readonly reusedSeq: number | null;
    }
  | {
      readonly type: 'TakeRefusal';
      readonly step: number;
      readonly purpose: Purpose;
      readonly reason: string;
    }
  | {
      readonly type: 'TakeQuestionCheck';
      readonly step: number;
      readonly finding: 'new' | 'committed' | 'claim';
    }
  | {
      readonly type: 'TakeToolResult';
      readonly step: number;
      readonly callId: string;
      readonly arguments: Readonly<Record<string, unknown>>;
      readonly result: Readonly<Record<string, unknown>>;
    }
  | {
      readonly type: 'SendBack';
      readonly turn: number;
      readonly attempt: number;
      readonly verdict: 'accept' | 'reject';
    }
  | { readonly type: 'SettleConversation' };

export type Effect =
  | { readonly type: 'GatherEvidence'; readonly step: number; readonly evidence: EvidenceRequest }
  | {
      readonly type: 'AskModel';
      readonly step: number;
      readonly purpose: Purpose;
      readonly asked: KeyedRequest;
      /** Where the journal already has this answer; then nobody is asked. */
      readonly answeredAt: number | null;
    }
  | { readonly type: 'CheckQuestion'; readonly step: number; readonly questionKey: string }
  | { readonly type: 'UseTool'; readonly step: number; readonly call: ToolCall; readonly action: ToolAction }
  | { readonly type: 'HandOver' };

/** The events that `command` causes, in the order in which they are to be appended, all at once. */
export function decide(
  state: ConversationState,
  command: ConversationCommand,
  context: DialogueContext,
): ConversationEvent[] {
  const events = direct(state, command, context);
  let current = events.reduce(evolve, state);
  for (let next = onward(current, context); next !== null; next = onward(current, context)) {
    events.push(next);
    current = evolve(current, next);
  }
  return events;
}

function direct(
  state: ConversationState,
  command: ConversationCommand,
  context: DialogueContext,
): ConversationEvent[] {
  const { stage } = state;
  // Settled is the end: its journal is closed, whatever still arrives.
  if (stage.type === 'settled') return [];
  switch (command.type) {
    case 'StartConversation':
      if (stage.type !== 'new') return [];
      return [
        {
          type: 'ConversationStarted',
          plan: context.planner.conversation(state.key.languageIndex, state.key.index),
        },
      ];
    case 'TakeEvidence':
      if (command.step !== state.step || stage.type !== 'gathering') return [];
      return [{ type: 'EvidenceGathered', passages: command.passages }];
    case 'TakeAnswer':
      return takeAnswer(state, command, context);
    case 'TakeRefusal':
      if (command.step !== state.step || !('exchange' in stage)) return [];
      return [{ type: 'RequestRefused', purpose: command.purpose, reason: command.reason }];
    case 'TakeQuestionCheck':
      if (command.step !== state.step || stage.type !== 'checking') return [];
      return [
        command.finding === 'new'
          ? { type: 'QuestionAccepted' }
          : { type: 'QuestionRejected', by: command.finding },
      ];
    case 'TakeToolResult':
      return takeToolResult(state, command);
    case 'SendBack':
      if (stage.type !== 'ready') return [];
      return [{ type: 'SentBack', turn: command.turn, attempt: command.attempt, verdict: command.verdict }];
    case 'SettleConversation':
      return stage.type === 'ready' ? [{ type: 'ConversationSettled' }] : [];
    default:
      return unreachable(command);
  }
}

type TakeAnswer = Extract<ConversationCommand, { type: 'TakeAnswer' }>;

function takeAnswer(
  state: ConversationState,
  command: TakeAnswer,
  context: DialogueContext,
): ConversationEvent[] {
  const { answer, purpose, asked, usedName } = command;
  const { requestKey } = asked;
  const sent = { type: 'RequestSent', requestKey, request: toStored(asked, state.messages) } as const;
  if (command.step !== state.step || !('exchange' in state.stage)) {
    if (command.reusedSeq !== null || state.answers[requestKey] !== undefined) return [];
    return [sent, { type: 'LateAnswerKept', purpose, requestKey, usedName, answer }];
  }
  const kept: ConversationEvent[] =
    command.reusedSeq === null
      ? [sent, { type: 'ModelAnswered', purpose, requestKey, usedName, answer }]
      : [{ type: 'AnswerReused', purpose, seq: command.reusedSeq }];
  return [...kept, interpretAnswer(state, command, context)];
}

function interpretAnswer(
  state: ConversationState,
  command: TakeAnswer,
  context: DialogueContext,
): ConversationEvent {
  const { answer, purpose } = command;
  const { stage } = state;
  if (
    stage.type === 'answering' &&
    answer.toolCalls.length > 0 &&
    stage.toolRounds.length < TOOL_ROUNDS_MAX
  ) {
    const calls = usableCalls(
      answer.toolCalls.slice(0, TOOL_CALLS_PER_ROUND_MAX),
      stage.turn,
      stage.toolRounds.length,
    );
    return { type: 'ToolsRequested', content: answer.content, calls };
  }
  const parsed = parseOutput<unknown>(outputKindOf(purpose, context.settings).schema, answer.content);
  if (!parsed.ok) return { type: 'OutputRejected', purpose, content: answer.content, errors: parsed.errors };
  return accepted(stage, purpose, parsed.value, answer.content);
}

/** Ids tie results to calls; a model that leaves them out or repeats them gets ours (J3). */
function usableCalls(calls: readonly ToolCall[], turn: number, round: number): ToolCall[] {
  const ids = new Set<string>();
  return calls.map((call, position) => {
    let id = call.id;
    // A model that has seen our ids may write one of them itself.
    for (let n = position; id === '' || ids.has(id); n += 1) id = `call_${turn}_${round}_${n}`;
    ids.add(id);
    return { ...call, id, arguments: readableArguments(call.arguments) };
  });
}

function accepted(stage: Stage, purpose: Purpose, value: unknown, content: string): ConversationEvent {
  switch (purpose) {
    case 'question': {
      const question = value as Extract<ConversationEvent, { type: 'QuestionProposed' }>['question'];
      if (normaliseQuestion(question.user_message) === '') {
        return { type: 'OutputRejected', purpose, content, errors: ['user_message: must contain words'] };
      }
      return { type: 'QuestionProposed', question, questionKey: questionKey(question.user_message) };
    }
    case 'answer': {
      invariant(stage.type === 'answering', 'an answer arrives while answering');
      const answer = value as Extract<ConversationEvent, { type: 'AnswerGiven' }>['answer'];
      // What was done counts, not what the model remembers of it (E11).
      const searched = stage.toolRounds.some((round) =>
        round.uses.some((use) => use.call.name === 'web_search'),
      );
      return { type: 'AnswerGiven', answer: { ...answer, did_web_search: searched } };
    }
    case 'verdict':
      return {
        type: 'VerdictGiven',
        verdict: value as Extract<ConversationEvent, { type: 'VerdictGiven' }>['verdict'],
      };
    case 'conversation_verdict':
      return {
        type: 'ConversationJudged',
        verdict: value as Extract<ConversationEvent, { type: 'ConversationJudged' }>['verdict'],
      };
    default:
      return unreachable(purpose);
  }
}

function takeToolResult(
  state: ConversationState,
  command: Extract<ConversationCommand, { type: 'TakeToolResult' }>,
): ConversationEvent[] {
  const { stage } = state;
  if (command.step !== state.step || stage.type !== 'using_tools') return [];
  const call = stage.pending.calls.find((pending) => pending.id === command.callId);
  if (call === undefined || stage.pending.uses.some((use) => use.call.id === call.id)) return [];
  return [{ type: 'ToolUsed', use: { call, arguments: command.arguments, result: command.result } }];
}

/** The event that follows from a state alone; null where something outside is awaited. */
function onward(state: ConversationState, context: DialogueContext): ConversationEvent | null {
  const { stage } = state;
  const { settings } = context;
  switch (stage.type) {
    case 'between_turns': {
      const turn = state.turns.length + 1;
      if (turn <= planOf(state).turnCount) return opened(state, context, turn, 0);
      return settings.judge?.granularity === 'conversation'
        ? { type: 'ConversationJudgingStarted' }
        : { type: 'ConversationFinished' };
    }
    case 'checking':
      return isOwnQuestion(state, openAttempt(stage).questionKey)
        ? { type: 'QuestionRejected', by: 'own_turn' }
        : null;
    case 'rejected': {
      const attempt = openAttempt(stage).attempt + 1;
      if (attempt <= settings.coverage.dedupRetries) return opened(state, context, stage.turn, attempt);
      return dropped(
        'dedup_exhausted',
        `turn ${stage.turn}: ${attempt} questions in a row were already asked`,
      );
    }
    case 'asking':
      return exhausted(stage.exchange, settings)
        ? droppedBy('malformed_question', stage.turn, stage.exchange)
        : null;
    case 'answering':
      return exhausted(stage.exchange, settings)
        ? droppedBy('malformed_answer', stage.turn, stage.exchange)
        : null;
    case 'judging':
      if (settings.judge?.granularity !== 'turn') return { type: 'TurnAccepted' };
      // No verdict is not a score of 0 (E18): the turn stands without one.
      return exhausted(stage.exchange, settings) ? { type: 'VerdictGiven', verdict: null } : null;
    case 'judging_conversation':
      return exhausted(stage.exchange, settings) ? { type: 'ConversationJudged', verdict: null } : null;
    case 'new':
    case 'gathering':
    case 'using_tools':
    case 'ready':
    case 'settled':
      return null;
    default:
      return unreachable(stage);
  }
}

function opened(
  state: ConversationState,
  context: DialogueContext,
  turn: number,
  attempt: number,
): ConversationEvent {
  const { languageIndex, index } = state.key;
  const avoid = new Set<string>();
  if (state.stage.type === 'rejected') {
    for (const earlier of state.stage.attempts) {
      const source = context.planner.sourceOf(earlier.question?.coverage_target ?? '');
      if (source !== null) avoid.add(source);
    }
  }
  return {
    type: 'TurnOpened',
    turn,
    attempt,
    plan: context.planner.turn(languageIndex, index, turn, attempt, avoid),
  };
}

function dropped(reason: DropReason, detail: string): ConversationEvent {
  return { type: 'ConversationDropped', reason, detail };
}

function droppedBy(malformed: DropReason, turn: number, exchange: Exchange): ConversationEvent {
  const { problem } = exchange;
  const reason = problem?.type === 'refused' ? 'model_refused' : malformed;
  return dropped(
    reason,
    `turn ${turn}: ${exchange.tries} tries failed, the last one: ${problem?.detail ?? 'unknown'}`,
  );
}

function exhausted(exchange: Exchange, settings: DialogueSettings): boolean {
  return exchange.tries >= settings.maxAttempts;
}

function isOwnQuestion(state: ConversationState, key: string): boolean {
  return state.turns.some((turn) => turn.attempts.at(-1)?.questionKey === key);
}

function planOf(state: ConversationState) {
  invariant(state.plan !== null, 'a started conversation has a plan');
  return state.plan;
}

/** What the state waits for, as data. Running an effect twice is safe: its second result is late. */
export function effectsOf(state: ConversationState, context: DialogueContext): Effect[] {
  const { stage, step } = state;
  switch (stage.type) {
    case 'gathering':
      return [{ type: 'GatherEvidence', step, evidence: evidenceFor(state, stage) }];
    case 'checking':
      return [{ type: 'CheckQuestion', step, questionKey: openAttempt(stage).questionKey }];
    case 'using_tools':
      return stage.pending.calls
        .filter((call) => !stage.pending.uses.some((use) => use.call.id === call.id))
        .map((call) => ({ type: 'UseTool', step, call, action: interpretToolCall(call, context.settings) }));
    case 'asking':
    case 'answering':
    case 'judging':
    case 'judging_conversation': {
      const { purpose, request } = requestFor(state, stage, context);
      const asked = keyed(request);
      return [
        { type: 'AskModel', step, purpose, asked, answeredAt: state.answers[asked.requestKey] ?? null },
      ];
    }
    case 'ready':
      return [{ type: 'HandOver' }];
    case 'new':
    case 'between_turns':
    case 'rejected':
    case 'settled':
      return [];
    default:
      return unreachable(stage);
  }
}
