/** Reads `conversations/<id>.json` as 0.1.0 wrote it, forgiving everything that can be done without. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  ConversationPayload,
  InputsBase,
  JsonObject,
  JsonValue,
  PayloadToolCall,
  PayloadTurn,
} from '../dialogue/conversation-record.ts';
import { parsePythonJson } from '../dialogue/python-json.ts';
import { messageOf } from '../kernel/errors.ts';
import type { DatasetId } from '../kernel/ids.ts';
import type { Store } from '../ports/store.ts';
import { CONVERSATIONS_FOLDER } from './dataset-rows.ts';
import { codeOf, outputError } from './output-error.ts';

export type LegacyRecord =
  | {
      readonly type: 'conversation';
      readonly payload: ConversationPayload;
      readonly timestamp: string;
      /** The record as it stands, but for numbers that JSON does not have. */
      readonly fields: JsonObject;
    }
  /** In words that continue "skipped: ". */
  | { readonly type: 'unusable'; readonly reason: string };

const ENDING = '.json';

/**
 * The conversation files that the store knows nothing of, in order of their names: those of 0.1.0. Names only.
 */
export async function legacyFileNames(
  outputDir: string,
  store: Pick<Store, 'committed'>,
  id: DatasetId,
): Promise<readonly string[]> {
  const names = new Set(await conversationFileNames(outputDir));
  if (names.size === 0) return [];
  for await (const { conversationId } of store.committed(id, 0))
    names.delete(conversationFileName(conversationId));
  return [...names];
}

export const conversationFileName = (conversationId: string): string => `${conversationId}${ENDING}`;
export const idOfFileName = (name: string): string => name.slice(0, -ENDING.length);

/** In order; none when there is no such folder. */
export async function conversationFileNames(outputDir: string): Promise<string[]> {
  const folder = join(outputDir, CONVERSATIONS_FOLDER);
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => entry.name.endsWith(ENDING) && !entry.isDirectory())
      .map(({ name }) => name)
      .toSorted();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw outputError(folder, error);
  }
}

export async function readLegacyRecord(outputDir: string, name: string): Promise<LegacyRecord> {
  let text: string;
  try {
    text = await readFile(join(outputDir, CONVERSATIONS_FOLDER, name), 'utf8');
  } catch (error) {
    return { type: 'unusable', reason: messageOf(error) };
  }
  return legacyRecord(text, idOfFileName(name));
}

/** @param id for a record that names none. */
export function legacyRecord(text: string, id: string): LegacyRecord {
  let value: unknown;
  try {
    value = parsePythonJson(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    return {
      type: 'unusable',
      reason: text.trim() === '' ? 'it is empty' : `it is no JSON: ${messageOf(error)}`,
    };
  }
  if (!isObject(value)) return { type: 'unusable', reason: 'it is no JSON object' };
  const turns = value['turns'];
  if (!Array.isArray(turns) || turns.length === 0) return { type: 'unusable', reason: 'it has no turns' };
  const odd = turns.findIndex((turn) => !isObject(turn));
  if (odd >= 0) return { type: 'unusable', reason: `turns[${odd}] is no object` };
  return {
    type: 'conversation',
    payload: payloadOf(value, turns as JsonObject[], id),
    timestamp: textOf(value['timestamp']),
    fields: value,
  };
}

function payloadOf(record: JsonObject, turns: readonly JsonObject[], id: string): ConversationPayload {
  const inputs = objectOf(record['inputs']);
  const personas = objectOf(record['personas']);
  const [first] = turns;
  return {
    version: 1,
    runId: '',
    conversationId: textOf(record['conversation_id']) || id,
    language: textOf(record['language']) || textOf(inputs['target_language']),
    languageIndex: 0,
    index: 0,
    targetTurns: turns.length,
    seedQuestion: textOf(record['seed_question']),
    personas: {
      user: textOf(personas['user']) || textOf(inputs['user_persona']),
      assistant: textOf(personas['assistant']) || textOf(inputs['assistant_persona']),
      userId: textOf(personas['user_id']) || textOf(inputs['user_persona_id']),
      assistantId: textOf(personas['assistant_id']) || textOf(inputs['assistant_persona_id']),
    },
    // Records of 0.1.0 keep their own; only the judge's part of it is looked at here.
    inputs: { judge_enabled: false, judge_granularity: 'turn', judge_reasons: [] } as unknown as InputsBase,
    agents: { user: textOf(first?.['qa_agent_used_name']), assistant: textOf(first?.['kb_agent_used_name']) },
    rehearsal: inputs['rehearsal'] === true,
    turns: turns.map(turnOf),
    conversationJudge: null,
    conversationJudgeAnswerSeq: null,
  };
}

/** How a turn of a record is numbered. */
export const turnNumber = (index: unknown, position: number): number =>
  typeof index === 'number' && Number.isInteger(index) && index > 0 ? index : position + 1;

function turnOf(turn: JsonObject, position: number): PayloadTurn {
  const calls = listOf(turn['tool_events']).filter(isObject).map(toolCallOf);
  return {
    turn: turnNumber(turn['turn_index'], position),
    attempt: 0,
    mode: textOf(turn['question_mode']),
    seedTopic: textOf(turn['seed_topic']),
    seedQuestion: textOf(turn['seed_question']),
    question: objectOf(turn['qa_generation']),
    answer: objectOf(turn['kb_answer']),
    verdict: null,
    toolRounds: calls.length === 0 ? [] : [{ content: '', calls }],
    answerSeqs: { question: [], answer: [], judge: [] },
    coverage: { passageId: '', source: '' },
  };
}

function toolCallOf(event: JsonObject): PayloadToolCall {
  return {
    id: textOf(event['id']),
    name: textOf(event['name']),
    arguments: objectOf(event['arguments']),
    result: objectOf(event['result']),
  };
}

/** The line of `synthetic_qa.jsonl` for a conversation that has its file and no line; verdicts are those of the file. */
export function syntheticRow({ fields }: Extract<LegacyRecord, { type: 'conversation' }>): object {
  const last = objectOf(listOf(fields['turns']).at(-1));
  return {
    conversation_id: fields['conversation_id'],
    timestamp: fields['timestamp'],
    question: fields['seed_question'],
    inputs: fields['inputs'],
    qa_generation_plan: objectOf(last['qa_generation']),
    kb_final_answer: objectOf(last['kb_answer']),
    qa_judge: objectOf(last['qa_judge']),
    conversation_judge: objectOf(fields['conversation_judge']),
    turns: fields['turns'],
    conversation_history: fields['conversation_history'],
    messages: fields['messages'],
    raw_result: objectOf(last['kb_answer']),
    raw_results: fields['raw_results'],
  };
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const objectOf = (value: JsonValue | undefined): JsonObject => (isObject(value) ? value : {});
const listOf = (value: JsonValue | undefined): readonly JsonValue[] =>
  Array.isArray(value) ? (value as readonly JsonValue[]) : [];
const textOf = (value: JsonValue | undefined): string => (typeof value === 'string' ? value : '');
