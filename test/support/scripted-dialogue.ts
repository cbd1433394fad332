/** Answers the effects of conversations without I/O, from a script: for tests of the pure machine. */
import type { ModelAnswer, ToolCall } from '../../src/dialogue/chat.ts';
import type { ConversationCommand, Effect } from '../../src/dialogue/conversation.ts';
import {
  type ConversationEvent,
  type ConversationState,
  openAttempt,
} from '../../src/dialogue/conversation-state.ts';
import { offerOf } from '../../src/dialogue/evidence.ts';
import type { Passage } from '../../src/dialogue/passage.ts';
import { below } from '../../src/kernel/random.ts';
import { seaPassages } from './memory-retriever.ts';

const PASSAGES = seaPassages();
const BY_ID = new Map<string, Passage>(PASSAGES.map((passage) => [passage.id, passage]));

export type AskModel = Extract<Effect, { type: 'AskModel' }>;

export interface Script {
  /** The model's question. */
  question(state: ConversationState, turn: number, attempt: number): string;
  /** Calls of the assistant, before it answers. @default none */
  readonly tools?: (state: ConversationState, effect: AskModel) => readonly ToolCall[];
  /** Ids that a search finds. @default some, the same for the same query */
  readonly hits?: (query: string, count: number) => readonly string[];
  /** What a question claims to rest on. @default the first passage that was offered */
  readonly coverageTarget?: () => string;
  /** Takes the place of a good answer. @default none */
  readonly broken?: (state: ConversationState, effect: AskModel) => string | null;
}

/** The command that answers an effect which asks a model, searches, or uses a tool. */
export function answerOf(
  state: ConversationState,
  effect: Effect,
  script: Script,
  events: readonly ConversationEvent[],
): ConversationCommand {
  switch (effect.type) {
    case 'GatherEvidence': {
      const { query, hits } = effect.evidence;
      const found = query === null || query === '' ? [] : (script.hits ?? searched)(query, hits);
      return {
        type: 'TakeEvidence',
        step: effect.step,
        passages: offerOf(effect.evidence, found).flatMap((id) => BY_ID.get(id) ?? []),
      };
    }
    case 'AskModel':
      return takeAnswer(state, effect, script, events);
    case 'UseTool':
      return {
        type: 'TakeToolResult',
        step: effect.step,
        callId: effect.call.id,
        arguments: effect.action.arguments,
        result: { said: effect.call.name },
      };
    case 'CheckQuestion':
    case 'HandOver':
      throw new Error(`${effect.type} is answered by the test itself`);
  }
}

const searched = (query: string, hits: number): string[] =>
  Array.from(
    { length: hits },
    (_, i) => (PASSAGES[below(['search', query, i], PASSAGES.length)] as Passage).id,
  );

/** What the journal holds is used again; nothing else is free. */
function takeAnswer(
  state: ConversationState,
  effect: AskModel,
  script: Script,
  events: readonly ConversationEvent[],
): ConversationCommand {
  const { step, purpose, asked, answeredAt } = effect;
  const stored = answeredAt === null ? null : events[answeredAt - 1];
  if (stored?.type === 'ModelAnswered' || stored?.type === 'LateAnswerKept') {
    return {
      type: 'TakeAnswer',
      step,
      purpose,
      asked,
      usedName: stored.usedName,
      answer: stored.answer,
      reusedSeq: answeredAt,
    };
  }
  return {
    type: 'TakeAnswer',
    step,
    purpose,
    asked,
    usedName: 'scripted',
    answer: scripted(state, effect, script),
    reusedSeq: null,
  };
}

function scripted(state: ConversationState, effect: AskModel, script: Script): ModelAnswer {
  const broken = script.broken?.(state, effect) ?? null;
  const mayCall = effect.asked.request.tools.length > 0;
  const toolCalls = mayCall && broken === null ? (script.tools?.(state, effect) ?? []) : [];
  return {
    content:
      broken ?? (toolCalls.length > 0 ? 'Let me look.' : JSON.stringify(goodOutput(state, effect, script))),
    toolCalls,
    finishReason: 'stop',
    usage: { promptTokens: 1, cachedTokens: 0, completionTokens: 1 },
    endpoint: 'scripted',
    model: 'scripted',
    latencyMs: 1,
    rehearsal: false,
    raw: {},
  };
}

function goodOutput(state: ConversationState, { purpose }: AskModel, script: Script): unknown {
  const { stage } = state;
  if (purpose === 'question' && stage.type === 'asking') {
    const { attempt, offered } = openAttempt(stage);
    return {
      user_message: script.question(state, stage.turn, attempt),
      intent: 'how_to',
      difficulty: 'easy',
      grounding_facts: [],
      coverage_target: script.coverageTarget?.() ?? offered[0]?.id ?? '',
      notes_for_assistant: [],
    };
  }
  if (purpose === 'answer')
    return { assistant_message: `Answer in turn ${state.turns.length + 1}.`, reasoning_trace: TRACE };
  return { score: 7, reasons: [], notes: '', question_ok: true, answer_ok: true };
}

const TRACE = {
  question: '',
  retrieval_queries: {},
  evidence: [],
  premises: [],
  thinking: [],
  confidence: 'high',
  known_limits: [],
};

/** What a journal gives back. */
export const throughJson = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
