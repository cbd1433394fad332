/** Reads `run_state/<run_id>.json` as 0.1.0 wrote it: of one conversation, or of a batch of them. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { JsonObject, PayloadTurn } from '../dialogue/conversation-record.ts';
import { parsePythonJson } from '../dialogue/python-json.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { codeOf } from './output-error.ts';

export interface LegacyTurn extends PayloadTurn {
  readonly agents: { readonly user: string; readonly assistant: string };
}

export interface LegacyConversation {
  readonly index: number;
  readonly conversationId: string;
  readonly targetTurns: number;
  /** Anything that 0.1.0 did not know either counts as active, as it did there. */
  readonly status: 'active' | 'completed' | 'dropped';
  readonly dropReason: string;
  /** docs/outputs.md, as it stood. */
  readonly inputs: JsonObject;
  readonly turns: readonly LegacyTurn[];
  readonly rawResults: readonly JsonObject[];
}

export interface LegacyRunState {
  readonly kind: 'single' | 'batched';
  readonly runId: string;
  readonly status: string;
  readonly updatedAt: string;
  readonly inputs: JsonObject;
  /** In order of index; a single state has one, with index 0. */
  readonly conversations: readonly LegacyConversation[];
}

const text = z.string().default('');
const object = z.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object',
);
const objects = z.array(object).default([]);

const storedToolEvent = z.object({
  id: z.string().nullish(),
  name: text,
  arguments: object.default({}),
  result: object.default({}),
});

const storedTurn = z.object({
  turn_index: z.int().positive(),
  qa_generation: object,
  kb_answer: object,
  qa_judge: object.nullish(),
  qa_agent_used_name: text,
  kb_agent_used_name: text,
  seed_topic: text,
  seed_question: text,
  question_mode: text,
  tool_events: z.array(storedToolEvent).default([]),
});

const storedHead = {
  run_id: z.string().min(1),
  status: text,
  updated_at: text,
  n_turns: z.int().nonnegative(),
  inputs: object.default({}),
};

const storedSingle = z.object({ ...storedHead, turns: z.array(storedTurn), raw_results: objects });

const storedSlot = z.object({
  conversation_index: z.int().nonnegative(),
  conversation_id: z.string().min(1),
  target_n_turns: z.int().nonnegative(),
  status: text,
  drop_reason: z.string().nullish(),
  inputs: object.default({}),
  turns: z.array(storedTurn).default([]),
  raw_results: objects,
});

const storedBatched = z.object({
  ...storedHead,
  batch_size: z.int().nonnegative(),
  conversations: z.array(storedSlot),
});

/**
 * Null when there is no such file.
 * @throws DlgforgeError `resume` naming the file and the place when it is not a run state: a damaged one
 *   is never taken for a missing one.
 */
export async function readRunState(path: string): Promise<LegacyRunState | null> {
  let stored: string;
  try {
    stored = await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw damaged(path, messageOf(error), error);
  }
  return parseRunState(path, stored);
}

function parseRunState(path: string, stored: string): LegacyRunState {
  let value: unknown;
  try {
    value = parsePythonJson(stored);
  } catch (error) {
    throw damaged(path, stored.trim() === '' ? 'it is empty' : messageOf(error), error);
  }
  const isBatched = typeof value === 'object' && value !== null && 'batch_size' in value;
  return isBatched
    ? batched(checked(path, storedBatched, value))
    : single(checked(path, storedSingle, value));
}

function checked<T>(path: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? 'the whole file' : placeOf(issue.path);
  throw damaged(path, `${place}: ${issue?.message ?? 'not a run state'}`, result.error);
}

const placeOf = (path: readonly PropertyKey[]): string =>
  path
    .map((part, at) => (typeof part === 'number' ? `[${part}]` : `${at === 0 ? '' : '.'}${String(part)}`))
    .join('');

function damaged(path: string, reason: string, cause: unknown): DlgforgeError {
  return new DlgforgeError(
    'resume',
    `the run state ${path} cannot be read: ${reason}. Restore it from a copy, or take it away to start a new run.`,
    { cause, details: { path } },
  );
}

function single(stored: z.infer<typeof storedSingle>): LegacyRunState {
  return {
    ...headOf(stored, 'single'),
    conversations: [
      {
        index: 0,
        conversationId: stored.run_id,
        targetTurns: stored.n_turns,
        status: stored.status === 'completed' ? 'completed' : 'active',
        dropReason: '',
        inputs: stored.inputs,
        turns: stored.turns.map(turnOf),
        rawResults: stored.raw_results,
      },
    ],
  };
}

function batched(stored: z.infer<typeof storedBatched>): LegacyRunState {
  const conversations = stored.conversations.map(
    (slot): LegacyConversation => ({
      index: slot.conversation_index,
      conversationId: slot.conversation_id,
      targetTurns: slot.target_n_turns,
      status: slot.status === 'completed' || slot.status === 'dropped' ? slot.status : 'active',
      dropReason: slot.drop_reason ?? '',
      inputs: slot.inputs,
      turns: slot.turns.map(turnOf),
      rawResults: slot.raw_results,
    }),
  );
  return { ...headOf(stored, 'batched'), conversations: conversations.toSorted((a, b) => a.index - b.index) };
}

function headOf(
  stored: z.infer<typeof storedSingle> | z.infer<typeof storedBatched>,
  kind: LegacyRunState['kind'],
): Omit<LegacyRunState, 'conversations'> {
  return {
    kind,
    runId: stored.run_id,
    status: stored.status,
    updatedAt: stored.updated_at,
    inputs: stored.inputs,
  };
}

/** 0.1.0 merged the tool rounds of a turn, so they come back as one. It noted no answers in a journal. */
function turnOf(stored: z.infer<typeof storedTurn>): LegacyTurn {
  const calls = stored.tool_events.map((event) => ({ ...event, id: event.id ?? '' }));
  const verdict = stored.qa_judge ?? {};
  const passageId = stored.qa_generation['coverage_target'];
  return {
    turn: stored.turn_index,
    attempt: 0,
    mode: stored.question_mode,
    seedTopic: stored.seed_topic,
    seedQuestion: stored.seed_question,
    question: stored.qa_generation,
    answer: stored.kb_answer,
    verdict: Object.keys(verdict).length === 0 ? null : verdict,
    toolRounds: calls.length === 0 ? [] : [{ content: '', calls }],
    answerSeqs: { question: [], answer: [], judge: [] },
    coverage: { passageId: typeof passageId === 'string' ? passageId.trim() : '', source: '' },
    agents: { user: stored.qa_agent_used_name, assistant: stored.kb_agent_used_name },
  };
}
