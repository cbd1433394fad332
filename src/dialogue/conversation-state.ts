/**
 * The conversation machine: its state, its events, and `evolve`. `conversation.ts` decides.
 *
 * Invariants:
 * - C1 `evolve` is total and pure: replaying the journal gives the state, whatever the clock says.
 * - C2 A stage holds exactly what is awaited; `step` names it, and a result of another step is late.
 * - C3 What was paid for is found again: `answers` names the journal position of every answer (I1).
 * - C4 `turns` holds accepted turns only; the open turn lives in the stage.
 */
import { invariant, unreachable } from '../kernel/errors.ts';
import type { ModelAnswer, ToolCall } from './chat.ts';
import type { AnswerOutput, JudgeOutput, QuestionOutput } from './outputs.ts';
import type { Passage } from './passage.ts';
import type { ConversationPlan, TurnPlan } from './planner.ts';
import { type MessagePlace, placesAfter, type StoredRequest } from './stored-request.ts';

export interface ConversationKey {
  readonly runId: string;
  readonly languageIndex: number;
  readonly index: number;
}

/** One candidate question of a turn, accepted or not. */
export interface Attempt {
  readonly attempt: number;
  readonly plan: TurnPlan;
  readonly offered: readonly Passage[];
  readonly question: QuestionOutput | null;
  /** Normalised-question key; '' until there is a question. */
  readonly questionKey: string;
  readonly questionSeqs: readonly number[];
  /** True when the ledger file had its line before this run was taken over from 0.1.0. */
  readonly inLedger?: true;
}

export interface ToolUse {
  readonly call: ToolCall;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** What the assistant is shown; judges see it too. */
  readonly result: Readonly<Record<string, unknown>>;
}

/** One round of the tool loop: what the assistant wrote, what it called, what came back. */
export interface ToolRound {
  readonly content: string;
  readonly uses: readonly ToolUse[];
}

export interface AcceptedTurn {
  readonly turn: number;
  /** Rejected ones first, the accepted one last. */
  readonly attempts: readonly Attempt[];
  readonly toolRounds: readonly ToolRound[];
  readonly answer: AnswerOutput;
  readonly answerSeqs: readonly number[];
  /** Null when the judge is off, or gave no verdict that can be used. */
  readonly verdict: JudgeOutput | null;
  readonly judgeSeqs: readonly number[];
}

/** Tries of one model step; a try is an answer and at most one repair of it. */
export interface Exchange {
  /** From 0. */
  readonly tries: number;
  /** The answer that is to be repaired, with its faults; null for a first answer. */
  readonly broken: { readonly content: string; readonly errors: readonly string[] } | null;
  /** What was wrong last, for the reason of a drop. */
  readonly problem: { readonly type: 'malformed' | 'refused'; readonly detail: string } | null;
}

interface OpenTurn {
  readonly turn: number;
  /** The last one is open. */
  readonly attempts: readonly Attempt[];
}

interface OpenAnswer extends OpenTurn {
  readonly toolRounds: readonly ToolRound[];
  readonly answerSeqs: readonly number[];
}

export interface PendingTools {
  readonly content: string;
  readonly calls: readonly ToolCall[];
  readonly uses: readonly ToolUse[];
}

export type Outcome =
  | { readonly type: 'finished' }
  | { readonly type: 'dropped'; readonly reason: DropReason; readonly detail: string };

export type DropReason =
  | 'dedup_exhausted'
  | 'malformed_question'
  | 'malformed_answer'
  | 'model_refused'
  | 'crashed';

export type Stage =
  | { readonly type: 'new' }
  /** Between two steps: `decide` goes on at once. */
  | { readonly type: 'between_turns' }
  | ({ readonly type: 'gathering' } & OpenTurn)
  | ({ readonly type: 'asking'; readonly exchange: Exchange } & OpenTurn)
  | ({ readonly type: 'checking' } & OpenTurn)
  | ({ readonly type: 'rejected' } & OpenTurn)
  | ({ readonly type: 'answering'; readonly exchange: Exchange } & OpenAnswer)
  | ({ readonly type: 'using_tools'; readonly pending: PendingTools } & OpenAnswer)
  | ({ readonly type: 'judging'; readonly exchange: Exchange; readonly answer: AnswerOutput; readonly judgeSeqs: readonly number[] } & OpenAnswer)
  | { readonly type: 'judging_conversation'; readonly exchange: Exchange }
  | { readonly type: 'ready'; readonly outcome: Outcome }
  | { readonly type: 'settled' };

export interface ConversationState {
  readonly key: ConversationKey;
  readonly plan: ConversationPlan | null;
  readonly turns: readonly AcceptedTurn[];
  readonly stage: Stage;
  /** Names what is awaited; grows with every change of it. */
  readonly step: number;
  /** Events so far, which is also the journal position of the last one. */
  readonly seq: number;
  /** How often the committer sent it back. */
  readonly revision: number;
  /** Request key → journal position of its answer. */
  readonly answers: Readonly<Record<string, number>>;
  /** Where the journal holds the messages of earlier requests, by digest. */
  readonly messages: Readonly<Record<string, MessagePlace>>;
  readonly conversationVerdict: JudgeOutput | null;
  readonly conversationJudgeSeqs: readonly number[];
  /** The turn in which the conversation was dropped, with its attempts; null otherwise. */
  readonly droppedIn: OpenTurn | null;
  /** Names of the models that answered, for the records; the first answer of a role decides. */
  readonly agents: { readonly user: string; readonly assistant: string };
  readonly rehearsal: boolean;
}

export type Purpose = 'question' | 'answer' | 'verdict' | 'conversation_verdict';

export type ConversationEvent =
  /** `agents`: who made the turns that were taken over from 0.1.0. */
  | { readonly type: 'ConversationStarted'; readonly plan: ConversationPlan; readonly agents?: ConversationState['agents'] }
  | { readonly type: 'TurnOpened'; readonly turn: number; readonly attempt: number; readonly plan: TurnPlan }
  | { readonly type: 'EvidenceGathered'; readonly passages: readonly Passage[] }
  /** The request of the answer that follows it. */
  | { readonly type: 'RequestSent'; readonly requestKey: string; readonly request: StoredRequest }
  | { readonly type: 'ModelAnswered'; readonly purpose: Purpose; readonly requestKey: string; readonly usedName: string; readonly answer: ModelAnswer }
  /** An answer that was paid for before a crash or a send-back serves again. */
  | { readonly type: 'AnswerReused'; readonly purpose: Purpose; readonly seq: number }
  /** Paid for, but nobody waits for it any more; kept for a later attempt that asks the same. */
  | { readonly type: 'LateAnswerKept'; readonly purpose: Purpose; readonly requestKey: string; readonly usedName: string; readonly answer: ModelAnswer }
  | { readonly type: 'OutputRejected'; readonly purpose: Purpose; readonly content: string; readonly errors: readonly string[] }
  | { readonly type: 'RequestRefused'; readonly purpose: Purpose; readonly reason: string }
  | { readonly type: 'QuestionProposed'; readonly question: QuestionOutput; readonly questionKey: string; readonly inLedger?: true }
  | { readonly type: 'QuestionAccepted' }
  | { readonly type: 'QuestionRejected'; readonly by: 'own_turn' | 'committed' | 'claim' }
  | { readonly type: 'ToolsRequested'; readonly content: string; readonly calls: readonly ToolCall[] }
  | { readonly type: 'ToolUsed'; readonly use: ToolUse }
  | { readonly type: 'AnswerGiven'; readonly answer: AnswerOutput }
  | { readonly type: 'VerdictGiven'; readonly verdict: JudgeOutput | null }
  | { readonly type: 'TurnAccepted' }
  | { readonly type: 'ConversationJudgingStarted' }
  | { readonly type: 'ConversationJudged'; readonly verdict: JudgeOutput | null }
  | { readonly type: 'ConversationFinished' }
  | { readonly type: 'ConversationDropped'; readonly reason: DropReason; readonly detail: string }
  /** The committer found the first wrong guess here; everything after it is void (DESIGN section 5). */
  | { readonly type: 'SentBack'; readonly turn: number; readonly attempt: number; readonly verdict: 'accept' | 'reject' }
  | { readonly type: 'ConversationSettled' };

export function initialConversation(key: ConversationKey): ConversationState {
  return {
    key,
    plan: null,
    turns: [],
    stage: { type: 'new' },
    step: 0,
    seq: 0,
    revision: 0,
    answers: {},
    messages: {},
    conversationVerdict: null,
    conversationJudgeSeqs: [],
    droppedIn: null,
    agents: { user: '', assistant: '' },
    rehearsal: false,
  };
}

const FIRST_TRY: Exchange = { tries: 0, broken: null, problem: null };

/** The open attempt of a turn. */
export function openAttempt(turn: OpenTurn): Attempt {
  const attempt = turn.attempts.at(-1);
  invariant(attempt !== undefined, 'an open turn has an attempt');
  return attempt;
}

/** The state after `event`. */
export function evolve(state: ConversationState, event: ConversationEvent): ConversationState {
  return { ...applied(state, event), seq: state.seq + 1 };
}

function applied(state: ConversationState, event: ConversationEvent): ConversationState {
  const { stage } = state;
  switch (event.type) {
    case 'ConversationStarted':
      return moved(state, { type: 'between_turns' }, { plan: event.plan, agents: event.agents ?? state.agents });
    case 'TurnOpened': {
      const earlier = stage.type === 'rejected' ? stage.attempts : [];
      const attempt: Attempt = {
        attempt: event.attempt,
        plan: event.plan,
        offered: [],
        question: null,
        questionKey: '',
        questionSeqs: [],
      };
      return moved(state, { type: 'gathering', turn: event.turn, attempts: [...earlier, attempt] });
    }
    case 'EvidenceGathered':
      invariant(stage.type === 'gathering', 'evidence is gathered once, before the question');
      return moved(state, {
        type: 'asking',
        turn: stage.turn,
        attempts: withOpen(stage, { offered: event.passages }),
        exchange: FIRST_TRY,
      });
    case 'RequestSent':
      return { ...state, messages: placesAfter(state.messages, event.request, state.seq + 1) };
    case 'ModelAnswered':
      return answered(state, event);
    case 'AnswerReused':
      return { ...state, stage: withSeq(stage, event.purpose, event.seq) };
    case 'LateAnswerKept':
      return { ...state, answers: { ...state.answers, [event.requestKey]: state.seq + 1 } };
    case 'OutputRejected':
      return moved(state, withExchange(stage, nextExchange(exchangeOf(stage), event)));
    case 'RequestRefused':
      return moved(
        state,
        withExchange(stage, {
          tries: exchangeOf(stage).tries + 1,
          broken: null,
          problem: { type: 'refused', detail: event.reason },
        }),
      );
    case 'QuestionProposed':
      invariant(stage.type === 'asking', 'a question is proposed while asking');
      return moved(state, {
        type: 'checking',
        turn: stage.turn,
        attempts: withOpen(stage, {
          question: event.question,
          questionKey: event.questionKey,
          ...(event.inLedger === undefined ? {} : { inLedger: event.inLedger }),
        }),
      });
    case 'QuestionAccepted':
      invariant(stage.type === 'checking', 'a question is accepted after its check');
      return moved(state, answeringStage(stage.turn, stage.attempts));
    case 'QuestionRejected':
      invariant(stage.type === 'checking', 'a question is rejected after its check');
      return moved(state, { type: 'rejected', turn: stage.turn, attempts: stage.attempts });
    case 'ToolsRequested':
      invariant(stage.type === 'answering', 'tools are requested while answering');
      return moved(state, { ...answerPart(stage), type: 'using_tools', pending: { content: event.content, calls: event.calls, uses: [] } });
    case 'ToolUsed':
      return toolUsed(state, event.use);
    case 'AnswerGiven':
      invariant(stage.type === 'answering', 'an answer is given while answering');
      return moved(state, { ...answerPart(stage), type: 'judging', exchange: FIRST_TRY, answer: event.answer, judgeSeqs: [] });
    case 'VerdictGiven':
      invariant(stage.type === 'judging', 'a verdict is given while judging');
      return turnAccepted(state, event.verdict);
    case 'TurnAccepted':
      return turnAccepted(state, null);
    case 'ConversationJudgingStarted':
      return moved(state, { type: 'judging_conversation', exchange: FIRST_TRY });
    case 'ConversationJudged':
      return moved(state, { type: 'ready', outcome: { type: 'finished' } }, { conversationVerdict: event.verdict });
    case 'ConversationFinished':
      return moved(state, { type: 'ready', outcome: { type: 'finished' } });
    case 'ConversationDropped':
      return dropped(state, event.reason, event.detail);
    case 'SentBack':
      return sentBack(state, event);
    case 'ConversationSettled':
      return moved(state, { type: 'settled' });
    default:
      return unreachable(event);
  }
}

function moved(state: ConversationState, stage: Stage, more: Partial<ConversationState> = {}): ConversationState {
  return { ...state, ...more, stage, step: state.step + 1 };
}

function withOpen(turn: OpenTurn, change: Partial<Attempt>): Attempt[] {
  return [...turn.attempts.slice(0, -1), { ...openAttempt(turn), ...change }];
}

function answeringStage(turn: number, attempts: readonly Attempt[]): Stage {
  return { type: 'answering', turn, attempts, exchange: FIRST_TRY, toolRounds: [], answerSeqs: [] };
}

function answerPart(stage: OpenAnswer): OpenAnswer {
  return { turn: stage.turn, attempts: stage.attempts, toolRounds: stage.toolRounds, answerSeqs: stage.answerSeqs };
}

function answered(state: ConversationState, event: Extract<ConversationEvent, { type: 'ModelAnswered' }>): ConversationState {
  const seq = state.seq + 1;
  const { agents } = state;
  return {
    ...state,
    stage: withSeq(state.stage, event.purpose, seq),
    answers: { ...state.answers, [event.requestKey]: seq },
    conversationJudgeSeqs:
      event.purpose === 'conversation_verdict' ? [...state.conversationJudgeSeqs, seq] : state.conversationJudgeSeqs,
    agents: {
      user: agents.user || (event.purpose === 'question' ? event.usedName : ''),
      assistant: agents.assistant || (event.purpose === 'answer' ? event.usedName : ''),
    },
    rehearsal: state.rehearsal || event.answer.rehearsal,
  };
}

/** Notes the journal position of an answer where it was used. */
function withSeq(stage: Stage, purpose: Purpose, seq: number): Stage {
  if (purpose === 'question' && stage.type === 'asking')
    return { ...stage, attempts: withOpen(stage, { questionSeqs: [...openAttempt(stage).questionSeqs, seq] }) };
  if (purpose === 'answer' && stage.type === 'answering') return { ...stage, answerSeqs: [...stage.answerSeqs, seq] };
  if (purpose === 'verdict' && stage.type === 'judging') return { ...stage, judgeSeqs: [...stage.judgeSeqs, seq] };
  return stage;
}

function exchangeOf(stage: Stage): Exchange {
  invariant('exchange' in stage, `stage ${stage.type} has a model call`);
  return stage.exchange;
}

function withExchange(stage: Stage, exchange: Exchange): Stage {
  invariant('exchange' in stage, `stage ${stage.type} has a model call`);
  return { ...stage, exchange };
}

/** A first bad answer is shown to the model for repair; a bad repair ends the try. */
function nextExchange(exchange: Exchange, bad: { readonly content: string; readonly errors: readonly string[] }): Exchange {
  const problem = { type: 'malformed', detail: bad.errors.join('; ') } as const;
  if (exchange.broken === null) {
    return { tries: exchange.tries, broken: { content: bad.content, errors: bad.errors }, problem };
  }
  return { tries: exchange.tries + 1, broken: null, problem };
}

function toolUsed(state: ConversationState, use: ToolUse): ConversationState {
  const { stage } = state;
  invariant(stage.type === 'using_tools', 'a tool is used while tools are awaited');
  const uses = [...stage.pending.uses, use];
  if (uses.length < stage.pending.calls.length) {
    return { ...state, stage: { ...stage, pending: { ...stage.pending, uses } } };
  }
  // In the order of the calls, whatever the order of arrival: the next prompt must not depend on timing (I5).
  const inOrder = stage.pending.calls.map((call) => uses.find((known) => known.call.id === call.id) as ToolUse);
  return moved(state, {
    ...answerPart(stage),
    type: 'answering',
    exchange: FIRST_TRY,
    toolRounds: [...stage.toolRounds, { content: stage.pending.content, uses: inOrder }],
  });
}

function turnAccepted(state: ConversationState, verdict: JudgeOutput | null): ConversationState {
  const { stage } = state;
  invariant(stage.type === 'judging', 'a turn is accepted after its answer');
  const turn: AcceptedTurn = {
    turn: stage.turn,
    attempts: stage.attempts,
    toolRounds: stage.toolRounds,
    answer: stage.answer,
    answerSeqs: stage.answerSeqs,
    verdict,
    judgeSeqs: stage.judgeSeqs,
  };
  return moved(state, { type: 'between_turns' }, { turns: [...state.turns, turn] });
}

/** The attempts of the turn in which it was dropped stay visible to the committer's check. */
function dropped(state: ConversationState, reason: DropReason, detail: string): ConversationState {
  const { stage } = state;
  const openTurn = 'attempts' in stage ? { turn: stage.turn, attempts: stage.attempts } : null;
  return moved(
    state,
    { type: 'ready', outcome: { type: 'dropped', reason, detail } },
    openTurn === null ? {} : { droppedIn: openTurn },
  );
}

function sentBack(
  state: ConversationState,
  event: { readonly turn: number; readonly attempt: number; readonly verdict: 'accept' | 'reject' },
): ConversationState {
  const attempts = attemptsOf(state, event.turn).slice(0, event.attempt + 1);
  const stage: Stage =
    event.verdict === 'accept' ? answeringStage(event.turn, attempts) : { type: 'rejected', turn: event.turn, attempts };
  return moved(state, stage, {
    turns: state.turns.slice(0, event.turn - 1),
    revision: state.revision + 1,
    conversationVerdict: null,
    conversationJudgeSeqs: [],
    droppedIn: null,
  });
}

function attemptsOf(state: ConversationState, turn: number): readonly Attempt[] {
  const accepted = state.turns.find((known) => known.turn === turn);
  const attempts = accepted?.attempts ?? (state.droppedIn?.turn === turn ? state.droppedIn.attempts : undefined);
  invariant(attempts !== undefined, `turn ${turn} was sent back but is not known`);
  return attempts;
}
