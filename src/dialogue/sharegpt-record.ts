/** The rows of the two ShareGPT files (docs/outputs.md). */
import type { ConversationPayload, JsonObject, JsonValue, PayloadTurn } from './conversation-record.ts';
import { Float, pythonText } from './python-json.ts';
import { assistantMessage, messages, messagesWithTools, userMessage } from './record-messages.ts';
import {
  assistantReasoning,
  listOf,
  personasOf,
  type RecordSource,
  sampleTimestamp,
  userReasoning,
} from './record-parts.ts';
import { meanScore, scoreOf } from './score.ts';

/** Notes of a verdict that says only that nobody judged. */
const NOT_JUDGED = 'disabled';

/** The names that the columns of the two ShareGPT files have (`saving.output_columns`). */
export interface OutputColumns {
  readonly messages: string;
  readonly messages_with_tools: string;
  readonly metadata: string;
  readonly user_reasoning: string;
  readonly assistant_reasoning: string;
  readonly judge: string;
}

export const DEFAULT_COLUMNS: OutputColumns = {
  messages: 'messages',
  messages_with_tools: 'messages_with_tools',
  metadata: 'metadata',
  user_reasoning: 'user_reasoning',
  assistant_reasoning: 'assistant_reasoning',
  judge: 'judge',
};

/** A line of `conversations_sharegpt.jsonl`. */
export function sharegptRow(source: RecordSource, columns: OutputColumns): object {
  const { payload } = source;
  return {
    [columns.messages]: messages(payload, false),
    [columns.messages_with_tools]: messagesWithTools(payload),
    [columns.metadata]: metadataOf(source),
    [columns.user_reasoning]: userReasoning(payload),
    [columns.assistant_reasoning]: assistantReasoning(payload),
  };
}

/**
 * What a line of `conversations_sharegpt_judged.jsonl` has after the columns of the ShareGPT row; null for a
 * conversation that nobody judged or was asked to: it has no line there.
 */
export function judgeColumn({ payload }: RecordSource): object | null {
  if (!isJudged(payload)) return null;
  const judged = payload.turns.flatMap((turn) =>
    turn.verdict !== null && Object.keys(turn.verdict).length > 0 ? [{ turn, verdict: turn.verdict }] : [],
  );
  const mean = meanScore(judged.map(({ verdict }) => verdict['score']));
  return {
    per_turn: judged.map(({ turn, verdict }) => ({
      turn_index: turn.turn,
      user_message: userMessage(turn),
      assistant_message: assistantMessage(turn),
      score: scoreOf(verdict['score']),
      reasons: listOf(verdict['reasons']),
      notes: verdict['notes'] ?? null,
      question_ok: verdict['question_ok'] ?? null,
      answer_ok: verdict['answer_ok'] ?? null,
    })),
    avg_score: mean === null ? null : new Float(mean),
    conversation: payload.conversationJudge ?? {},
  };
}

function isJudged(payload: ConversationPayload): boolean {
  const real = (verdict: JsonObject | null): boolean =>
    verdict !== null && Object.keys(verdict).length > 0 && verdict['notes'] !== NOT_JUDGED;
  return (
    real(payload.conversationJudge) ||
    payload.inputs.judge_enabled ||
    payload.turns.some((turn) => real(turn.verdict))
  );
}

const DIFFICULTIES: readonly string[] = ['easy', 'medium', 'hard'];

function metadataOf(source: RecordSource): object {
  const { payload } = source;
  const sequence = (of: (turn: PayloadTurn) => JsonValue | undefined): readonly string[] =>
    payload.turns.map((turn) => pythonText(of(turn))).filter((text) => text !== '');
  const difficulties = sequence((turn) => turn.question['difficulty']);
  const hardest = Math.max(-1, ...difficulties.map((difficulty) => DIFFICULTIES.indexOf(difficulty)));
  return {
    conversation_id: payload.conversationId,
    timestamp: sampleTimestamp(source.committedAtMs),
    n_turns: payload.turns.length,
    language: payload.language,
    judge_granularity: payload.inputs.judge_granularity,
    personas: personasOf(payload),
    difficulty_sequence: difficulties,
    difficulty_max: DIFFICULTIES[hardest] ?? '',
    intent_sequence: sequence((turn) => turn.question['intent']),
    coverage_targets: sequence((turn) => turn.question['coverage_target']),
    question_modes: sequence((turn) => turn.mode),
    seed_topics: sequence((turn) => turn.seedTopic),
    seed_questions: sequence((turn) => turn.seedQuestion),
    ...(payload.rehearsal ? { rehearsal: true } : {}),
  };
}
