/** What several records have in common. */
import type { ConversationPayload, JsonValue } from './conversation-record.ts';
import { pythonText } from './python-json.ts';
import type { RawResponses } from './raw-results.ts';
import { normaliseTrace } from './reasoning-trace.ts';
import { assistantMessage, userMessage } from './record-messages.ts';

/** A conversation with what the store and the journal know about it. */
export interface RecordSource {
  readonly payload: ConversationPayload;
  readonly committedAtMs: number;
  /** Response bodies by journal sequence number. */
  readonly rawResponses: RawResponses;
}

/** `2025-01-31T12:34:56.789000+00:00`: the style of sample records. The store counts milliseconds; the rest is zeros. */
export const sampleTimestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, -1)}000+00:00`;
/** `2025-01-31T12:34:56.789000Z`: the style of the ledger and of run states. */
export const ledgerTimestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, -1)}000Z`;

/** Lists of a record are never null. */
export const listOf = (value: JsonValue | undefined): JsonValue =>
  Array.isArray(value) ? (value as JsonValue) : [];

export const personasOf = ({ personas }: ConversationPayload): object => ({
  user: personas.user,
  assistant: personas.assistant,
  user_id: personas.userId,
  assistant_id: personas.assistantId,
});

export function userReasoning(payload: ConversationPayload): readonly object[] {
  return payload.turns.map((turn) => ({
    turn_index: turn.turn,
    user_message: userMessage(turn),
    intent: pythonText(turn.question['intent']),
    difficulty: pythonText(turn.question['difficulty']),
    coverage_target: pythonText(turn.question['coverage_target']),
    grounding_facts: listOf(turn.question['grounding_facts']),
    notes_for_assistant: listOf(turn.question['notes_for_assistant']),
    seed_topic: turn.seedTopic,
    seed_question: turn.seedQuestion,
    question_mode: turn.mode,
  }));
}

export function assistantReasoning(payload: ConversationPayload): readonly object[] {
  return payload.turns.map((turn) => ({
    turn_index: turn.turn,
    assistant_message: assistantMessage(turn),
    reasoning_trace: normaliseTrace(turn.answer['reasoning_trace']),
    did_web_search: turn.answer['did_web_search'] ?? null,
  }));
}
