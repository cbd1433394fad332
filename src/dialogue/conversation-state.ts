/**
 * The conversation machine: its state and its events. `evolve-conversation.ts` applies events,
 * `conversation.ts` decides.
 *
 * Invariants:
 * - C1 `evolve` is total and pure: replaying the journal gives the state, whatever the clock says.
 * - C2 A stage holds exactly what is awaited; `step` names it, and a result of another step is late.
 * - C3 What was paid for is found again: `answers` names the journal position of every answer (I1).
 * - C4 `turns` holds accepted turns only; the open turn lives in the stage.
 */
import { invariant } from '../kernel/errors.ts';
import type { ModelAnswer, ToolCall } from './chat.ts';
import type { AnswerOutput, JudgeOutput, QuestionOutput } from './outputs.ts';
import type { Passage } from './passage.ts';
import type { ConversationPlan, TurnPlan } from './planner.ts';
import type { MessagePlace, StoredRequest } from './stored-request.ts';

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

export interface OpenTurn {
  readonly turn: number;
  /** The last one is open. */
  readonly attempts: readonly Attempt[];
}

export interface OpenAnswer extends OpenTurn {
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

export const REASONS_OF_DROPS = [
  'dedup_exhausted',
  'malformed_question',
  'malformed_answer',
  'model_refused',
  'crashed',
] as const;
export type DropReason = (typeof REASONS_OF_DROPS)[number];

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
  | ({
      readonly type: 'judging';
      readonly exchange: Exchange;
      readonly answer: AnswerOutput;
      readonly judgeSeqs: readonly number[];
    } & OpenAnswer)
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
  | {
      readonly type: 'ConversationStarted';
      readonly plan: ConversationPlan;
      readonly agents?: ConversationState['agents'];
    }
  | { readonly type: 'TurnOpened'; readonly turn: number; readonly attempt: number; readonly plan: TurnPlan }
  | { readonly type: 'EvidenceGathered'; readonly passages: readonly Passage[] }
  /** The request of the answer that follows it; late answers of 1.0 have none. */
  | { readonly type: 'RequestSent'; readonly requestKey: string; readonly request: StoredRequest }
  | {
      readonly type: 'ModelAnswered';
      readonly purpose: Purpose;
      readonly requestKey: string;
      readonly usedName: string;
      readonly answer: ModelAnswer;
    }
  /** An answer that was paid for before a crash or a send-back serves again. */
  | { readonly type: 'AnswerReused'; readonly purpose: Purpose; readonly seq: number }
  /** Paid for, but nobody waits for it any more; kept for a later attempt that asks the same. */
  | {
      readonly type: 'LateAnswerKept';
      readonly purpose: Purpose;
      readonly requestKey: string;
      readonly usedName: string;
      readonly answer: ModelAnswer;
    }
  | {
      readonly type: 'OutputRejected';
      readonly purpose: Purpose;
      readonly content: string;
      readonly errors: readonly string[];
    }
  | { readonly type: 'RequestRefused'; readonly purpose: Purpose; readonly reason: string }
  | {
      readonly type: 'QuestionProposed';
      readonly question: QuestionOutput;
      readonly questionKey: string;
      readonly inLedger?: true;
    }
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
  /** The committer found the first wrong guess here; everything after it is void (ARCHITECTURE.md, "Commit in rank order"). */
  | {
      readonly type: 'SentBack';
      readonly turn: number;
      readonly attempt: number;
      readonly verdict: 'accept' | 'reject';
    }
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

/** The open attempt of a turn. */
export function openAttempt(turn: OpenTurn): Attempt {
  const attempt = turn.attempts.at(-1);
  invariant(attempt !== undefined, 'an open turn has an attempt');
  return attempt;
}
