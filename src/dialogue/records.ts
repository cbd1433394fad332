/**
 * From a committed conversation to the rows of every file (docs/outputs.md):
 * names, order and types of the fields are the operators' contract. Pure: equal conversations give equal
 * bytes, however often, wherever and by how many workers they were made (I5, I6).
 */
import type { ConversationPayload, InputsBase, PayloadPersonas, PayloadTurn } from './conversation-record.ts';
import { Float } from './python-json.ts';
import { rawResults } from './raw-results.ts';
import { normaliseTrace } from './reasoning-trace.ts';
import {
  assistantMessage,
  conversationHistory,
  messages,
  messagesWithTools,
  namedToolRounds,
  userMessage,
} from './record-messages.ts';
import {
  assistantReasoning,
  ledgerTimestamp,
  listOf,
  personasOf,
  type RecordSource,
  sampleTimestamp,
  userReasoning,
} from './record-parts.ts';
import { scoreOf } from './score.ts';

export type ConversationStatus = 'active' | 'completed' | 'dropped';

/**
 * The `inputs` of a conversation. `project_root` and `config_dir` are "." because files travel (fault
 * I11 of the contract). `batch_size` is left out and `resume_run_id` is empty because a row must not
 * tell how many workers made it or how often the run was resumed (I5). `run_id` is the conversation's
 * id, as it was in batched runs. `n_turns` is the number of turns that there are (fault B10).
 */
export function inputsOf(
  payload: ConversationPayload,
  status: ConversationStatus,
  dropReason: string,
): object {
  const judge = payload.conversationJudge;
  return {
    ...commonInputs(payload),
    n_turns: payload.turns.length,
    conversation_index: payload.index,
    conversation_status: status,
    drop_reason: dropReason,
    ...(payload.inputs.judge_granularity === 'conversation' ? { conversation_judge: judge ?? {} } : {}),
    ...(payload.rehearsal ? { rehearsal: true } : {}),
  };
}

/** The fields that conversations and run states share. */
interface CommonInputs {
  readonly inputs: InputsBase;
  readonly language: string;
  readonly conversationId: string;
  readonly personas: PayloadPersonas;
  readonly agents: ConversationPayload['agents'];
}

function commonInputs(common: CommonInputs): object {
  const { inputs, personas, agents } = common;
  return {
    question: inputs.question,
    target_language: common.language,
    target_languages: inputs.target_languages,
    question_seed: inputs.question_seed,
    run_id: common.conversationId,
    resume_run_id: '',
    total_samples: inputs.total_samples,
    min_turns: inputs.min_turns,
    max_turns: inputs.max_turns,
    turn_count_distribution: inputs.turn_count_distribution,
    turn_count_mean: new Float(inputs.turn_count_mean),
    seed_topics_path: inputs.seed_topics_path,
    seed_topics_variant: inputs.seed_topics_variant,
    seed_topics_probability: new Float(inputs.seed_topics_probability),
    seed_topics_enabled: inputs.seed_topics_enabled,
    retrieval_default_k: inputs.retrieval_default_k,
    user_persona: personas.user,
    assistant_persona: personas.assistant,
    user_persona_id: personas.userId,
    assistant_persona_id: personas.assistantId,
    user_agent_used_name: agents.user,
    assistant_agent_used_name: agents.assistant,
    judge_enabled: inputs.judge_enabled,
    judge_granularity: inputs.judge_granularity,
    judge_reasons: inputs.judge_reasons,
    project_root: '.',
    config_dir: '.',
  };
}

/** 0.1.0: the turn as the models wrote it. */
function turnRecord(payload: ConversationPayload, turn: PayloadTurn): object {
  return {
    turn_index: turn.turn,
    qa_generation: turn.question,
    kb_answer: turn.answer,
    qa_judge: turn.verdict ?? {},
    qa_agent_used_name: payload.agents.user,
    kb_agent_used_name: payload.agents.assistant,
    seed_topic: turn.seedTopic,
    seed_question: turn.seedQuestion,
    question_mode: turn.mode,
    tool_events: namedToolRounds(turn).flatMap((round) => round.calls),
  };
}

const turnRecords = (payload: ConversationPayload): readonly object[] =>
  payload.turns.map((turn) => turnRecord(payload, turn));

/** A line of `synthetic_qa.jsonl`. */
export function syntheticQaRow(source: RecordSource): object {
  const { payload } = source;
  const last = payload.turns.at(-1);
  return {
    conversation_id: payload.conversationId,
    timestamp: sampleTimestamp(source.committedAtMs),
    question: payload.seedQuestion,
    inputs: inputsOf(payload, 'completed', ''),
    qa_generation_plan: last?.question ?? {},
    kb_final_answer: last?.answer ?? {},
    qa_judge: last?.verdict ?? {},
    conversation_judge: payload.conversationJudge ?? {},
    turns: turnRecords(payload),
    conversation_history: conversationHistory(payload),
    messages: messages(payload, true),
    raw_result: last?.answer ?? {},
    raw_results: rawResults(payload, source.rawResponses),
  };
}

/** `conversations/<conversation_id>.json`. */
export function conversationFile(source: RecordSource): object {
  const { payload } = source;
  return {
    conversation_id: payload.conversationId,
    timestamp: sampleTimestamp(source.committedAtMs),
    seed_question: payload.seedQuestion,
    inputs: inputsOf(payload, 'completed', ''),
    n_turns: payload.turns.length,
    language: payload.language,
    personas: personasOf(payload),
    messages: messages(payload, true),
    messages_with_tools: messagesWithTools(payload),
    user_reasoning: userReasoning(payload),
    assistant_reasoning: assistantReasoning(payload),
    conversation_judge: payload.conversationJudge ?? {},
    turns: turnRecords(payload),
    conversation_history: conversationHistory(payload),
    raw_results: rawResults(payload, source.rawResponses),
  };
}

/** A line of `conversations_index.jsonl`; `file` is where the conversation's file is, as readers shall find it. */
export function indexRow(source: RecordSource, file: string): object {
  const { payload } = source;
  return {
    conversation_id: payload.conversationId,
    timestamp: sampleTimestamp(source.committedAtMs),
    n_turns: payload.turns.length,
    seed_question: payload.seedQuestion,
    language: payload.language,
    conversation_file: file,
    ...(payload.rehearsal ? { rehearsal: true } : {}),
  };
}

/** The lines of `turns.jsonl`: 23 fields, what is missing is null, lists are never null. */
export function turnRows(source: RecordSource): readonly object[] {
  const { payload } = source;
  const overall = payload.conversationJudge;
  return payload.turns.map((turn) => ({
    conversation_id: payload.conversationId,
    timestamp: sampleTimestamp(source.committedAtMs),
    turn_index: turn.turn,
    user_message: userMessage(turn),
    assistant_message: assistantMessage(turn),
    question_mode: turn.mode,
    seed_topic: turn.seedTopic,
    seed_question: turn.seedQuestion,
    intent: turn.question['intent'] ?? null,
    difficulty: turn.question['difficulty'] ?? null,
    coverage_target: turn.question['coverage_target'] ?? null,
    grounding_facts: listOf(turn.question['grounding_facts']),
    notes_for_assistant: listOf(turn.question['notes_for_assistant']),
    reasoning_trace: normaliseTrace(turn.answer['reasoning_trace']),
    did_web_search: turn.answer['did_web_search'] ?? null,
    judge_granularity: payload.inputs.judge_granularity,
    judge_score: scoreOf(turn.verdict?.['score']),
    judge_reasons: listOf(turn.verdict?.['reasons']),
    judge_notes: turn.verdict?.['notes'] ?? null,
    judge_question_ok: turn.verdict?.['question_ok'] ?? null,
    judge_answer_ok: turn.verdict?.['answer_ok'] ?? null,
    conversation_judge_score: scoreOf(overall?.['score']),
    conversation_judge_reasons: listOf(overall?.['reasons']),
  }));
}

/** What a ledger line says of an accepted question. */
export interface LedgerFacts {
  readonly passageId: string;
  readonly source: string;
  readonly question: string;
  readonly questionHash: string;
  readonly questionMode: string;
  readonly seedTopic: string;
  readonly seedQuestion: string;
  readonly seedQuestionHash: string;
}

/** A line of `coverage_ledger.jsonl` (docs/outputs.md). */
export function ledgerRow(facts: LedgerFacts, committedAtMs: number): object {
  return {
    timestamp: ledgerTimestamp(committedAtMs),
    topic_id: facts.passageId,
    source_path: facts.source,
    question: facts.question,
    question_hash: facts.questionHash,
    question_mode: facts.questionMode,
    seed_topic: facts.seedTopic,
    seed_question: facts.seedQuestion,
    seed_question_hash: facts.seedQuestionHash,
  };
}

/** What `run_state/<run_id>.json` says before its slots (docs/outputs.md). */
export interface RunStateFacts {
  readonly runId: string;
  readonly status: 'started' | 'resumed' | 'in_progress' | 'completed';
  readonly updatedAtMs: number;
  readonly inputs: InputsBase;
  readonly agents: ConversationPayload['agents'];
  /** Largest number of planned turns, and number of slots, over `conversations`. */
  readonly turnsMax: number;
  readonly slotCount: number;
}

/** The run state without `conversations`, which comes last. `inputs.target_language` is the first language. */
export function runStateHead(facts: RunStateFacts): object {
  const personas = { user: '', assistant: '', userId: '', assistantId: '' };
  const { runId, inputs, agents } = facts;
  const language = inputs.target_languages[0] ?? '';
  return {
    run_id: runId,
    status: facts.status,
    updated_at: ledgerTimestamp(facts.updatedAtMs),
    n_turns: facts.turnsMax,
    batch_size: facts.slotCount,
    inputs: commonInputs({ inputs, language, conversationId: runId, personas, agents }),
  };
}

/**
 * A slot of a run state. Turns and responses are not repeated in it: they stand in
 * `conversations/<id>.json`, and repeating them made the file grow with the square of the run.
 */
export function runStateSlot(
  conversation: ConversationPayload | Pick<ConversationPayload, 'index' | 'conversationId'>,
  status: ConversationStatus,
  dropReason: string,
): object {
  const payload = 'version' in conversation ? conversation : null;
  return {
    conversation_index: conversation.index,
    conversation_id: conversation.conversationId,
    target_n_turns: payload?.targetTurns ?? 0,
    status,
    drop_reason: dropReason,
    inputs: payload === null ? {} : inputsOf(payload, status, dropReason),
    turns: [],
    raw_results: [],
  };
}
