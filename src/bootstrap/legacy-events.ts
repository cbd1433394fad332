/**
 * From a conversation in a run state of 0.1.0 to the events of its journal, as if it had been made
 * here: recovery then needs to know nothing of where it came from.
 *
 * 0.1.0 checked no answer (A11). What it left out stays left out; a turn whose question or answer is
 * empty (A12) or of a wrong type (A7) is cut off with everything after it, and generated anew.
 */
import type { z } from 'zod';
import type { JsonObject, PayloadToolRound } from '../dialogue/conversation-record.ts';
import type { ConversationEvent } from '../dialogue/conversation-state.ts';
import {
  type AnswerOutput,
  answerOutput,
  type JudgeOutput,
  judgeOutput,
  type QuestionOutput,
  questionOutput,
} from '../dialogue/outputs.ts';
import type { TurnPlan } from '../dialogue/planner.ts';
import { normaliseQuestion, questionKey } from '../dialogue/question-key.ts';
import type { QuestionMode } from '../dialogue/sampling.ts';
import type { LegacyConversation, LegacyTurn } from '../export/legacy-run-state.ts';

export interface LegacyEvents {
  readonly events: readonly ConversationEvent[];
  /** Keys of the questions that are kept, in order. */
  readonly questionKeys: readonly string[];
  /** The first turn that could not be kept; null when all could. */
  readonly cutOff: { readonly turn: number; readonly reason: string } | null;
}

interface KeptTurn {
  readonly stored: LegacyTurn;
  readonly question: QuestionOutput;
  readonly questionKey: string;
  readonly answer: AnswerOutput;
}

/** @param inLedger tells whether the ledger file has the question already; it is not written there again. */
export function legacyEvents(
  conversation: LegacyConversation,
  conversationId: string,
  inLedger: (questionKey: string) => boolean,
): LegacyEvents {
  const { kept, cutOff } = keptTurns(conversation.turns);
  const turnCount = Math.max(1, conversation.targetTurns, kept.length);
  const events: ConversationEvent[] = [
    started(conversation, conversationId, turnCount, kept[0]?.stored),
    ...kept.flatMap((turn) => turnEvents(turn, inLedger(turn.questionKey))),
    ...(kept.length === turnCount ? conversationVerdict(conversation) : []),
  ];
  return { events, questionKeys: kept.map((turn) => turn.questionKey), cutOff };
}

function started(
  conversation: LegacyConversation,
  conversationId: string,
  turnCount: number,
  first: LegacyTurn | undefined,
): ConversationEvent {
  const { inputs } = conversation;
  const persona = (side: 'user' | 'assistant') => ({
    id: textOf(inputs[`${side}_persona_id`]),
    text: textOf(inputs[`${side}_persona`]),
  });
  return {
    type: 'ConversationStarted',
    plan: { conversationId, turnCount, userPersona: persona('user'), assistantPersona: persona('assistant') },
    ...(first === undefined ? {} : { agents: first.agents }),
  };
}

function keptTurns(turns: readonly LegacyTurn[]): {
  readonly kept: readonly KeptTurn[];
  readonly cutOff: LegacyEvents['cutOff'];
} {
  const kept: KeptTurn[] = [];
  for (const stored of turns) {
    const turn = kept.length + 1;
    const checked = stored.turn === turn ? checkedTurn(stored) : `it is numbered ${stored.turn}`;
    if (typeof checked === 'string') return { kept, cutOff: { turn, reason: checked } };
    kept.push(checked);
  }
  return { kept, cutOff: null };
}

/** What has to be there for the check of the rest; what was filled in is taken out again. */
const QUESTION_FILLERS = { intent: 'clarify', difficulty: 'easy' };
const TRACE_FILLERS = { confidence: 'low' };

/** The turn, or what is wrong with it. */
function checkedTurn(stored: LegacyTurn): KeptTurn | string {
  const question = checkedOutput(
    questionOutput.schema,
    { coverage_target: '', ...stored.question },
    QUESTION_FILLERS,
  );
  if (typeof question === 'string') return `question: ${question}`;
  if (normaliseQuestion(question.user_message) === '') return 'question: user_message has no words';
  const trace = stored.answer['reasoning_trace'] ?? {};
  const answer = checkedOutput(answerOutput.schema, {
    ...stored.answer,
    reasoning_trace: withFillers(trace, TRACE_FILLERS),
  });
  if (typeof answer === 'string') return `answer: ${answer}`;
  return {
    stored,
    question,
    questionKey: questionKey(question.user_message),
    answer: { ...answer, reasoning_trace: withoutFillers(answer.reasoning_trace, trace, TRACE_FILLERS) },
  };
}

function checkedOutput<T extends object>(
  schema: z.ZodType<T>,
  stored: object,
  fillers: Readonly<Record<string, string>> = {},
): T | string {
  const result = schema.safeParse(withFillers(stored, fillers));
  if (result.success) return withoutFillers(result.data, stored, fillers);
  const [issue] = result.error.issues;
  return `${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim();
}

const isMissing = (object: unknown, name: string): boolean =>
  ((object as Readonly<Record<string, unknown>>)[name] ?? null) === null;

function withFillers(stored: unknown, fillers: Readonly<Record<string, string>>): unknown {
  if (typeof stored !== 'object' || stored === null || Array.isArray(stored)) return stored;
  const missing = Object.entries(fillers).filter(([name]) => isMissing(stored, name));
  return { ...stored, ...Object.fromEntries(missing) };
}

/** A field that stays out is `undefined` to code that believes the type; records write it as null or empty. */
function withoutFillers<T extends object>(
  value: T,
  stored: unknown,
  fillers: Readonly<Record<string, string>>,
): T {
  const entries = Object.entries(value).filter(([name]) => !(name in fillers && isMissing(stored, name)));
  return Object.fromEntries(entries) as T;
}

function turnEvents(
  { stored, question, questionKey: key, answer }: KeptTurn,
  inLedger: boolean,
): ConversationEvent[] {
  return [
    { type: 'TurnOpened', turn: stored.turn, attempt: 0, plan: planOf(stored) },
    // Run states do not say which passages were shown.
    { type: 'EvidenceGathered', passages: [] },
    { type: 'QuestionProposed', question, questionKey: key, ...(inLedger ? { inLedger } : {}) },
    { type: 'QuestionAccepted' },
    ...stored.toolRounds.flatMap((round) => toolEvents(round, stored.turn)),
    { type: 'AnswerGiven', answer },
    stored.verdict === null
      ? { type: 'TurnAccepted' }
      : { type: 'VerdictGiven', verdict: usableVerdict(stored.verdict) },
  ];
}

const MODES: ReadonlySet<string> = new Set<QuestionMode>([
  'seeded',
  'fresh',
  'followup',
  'adjacent',
  'off_topic',
]);

function planOf({ mode, seedTopic, seedQuestion }: LegacyTurn): TurnPlan {
  return {
    mode: MODES.has(mode) ? (mode as QuestionMode) : 'fresh',
    seed: seedQuestion === '' ? null : { topic: seedTopic, question: seedQuestion },
    focus: null,
    fill: [],
  };
}

/** Ids tie results to calls, so every call gets one of its own (J3). */
function toolEvents({ content, calls }: PayloadToolRound, turn: number): ConversationEvent[] {
  const ids = new Set<string>();
  const uses = calls.map((call, position) => {
    const id = call.id === '' || ids.has(call.id) ? `call_${turn}_0_${position}` : call.id;
    ids.add(id);
    const asked = { id, name: call.name, arguments: JSON.stringify(call.arguments) };
    return { call: asked, arguments: call.arguments, result: call.result };
  });
  return [
    { type: 'ToolsRequested', content, calls: uses.map((use) => use.call) },
    ...uses.map((use): ConversationEvent => ({ type: 'ToolUsed', use })),
  ];
}

/** What 0.1.0 noted when a judge gave no verdict: not a score of 0 (E18). */
const NO_VERDICT: ReadonlySet<unknown> = new Set([
  'judge parse failure',
  'conversation judge parse failure',
  'disabled',
]);

/** Reasons are taken as they are: 0.1.0 held nobody to the configured ones. */
function usableVerdict(stored: JsonObject): JudgeOutput | null {
  if (NO_VERDICT.has(stored['notes'])) return null;
  const result = judgeOutput([]).schema.safeParse(stored);
  return result.success ? result.data : null;
}

/** A verdict on the whole conversation was paid for and is not asked for again (B7). */
function conversationVerdict({ rawResults, inputs }: LegacyConversation): ConversationEvent[] {
  const entry = rawResults.findLast((result) => isObject(result['conversation_judge']));
  const stored = entry?.['conversation_judge'] ?? inputs['conversation_judge'];
  const verdict = isObject(stored) ? usableVerdict(stored) : null;
  return verdict === null
    ? []
    : [{ type: 'ConversationJudgingStarted' }, { type: 'ConversationJudged', verdict }];
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
