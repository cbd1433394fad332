/** Files as 0.1.0 wrote them, made from their documented formats. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** 0.1.0. */
export interface OldTurn {
  readonly turn_index: number;
  readonly qa_generation: Readonly<Record<string, unknown>>;
  readonly kb_answer: Readonly<Record<string, unknown>>;
  readonly qa_judge: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

export function oldTurn(turn: number, question: string, change: Partial<OldTurn> = {}): OldTurn {
  return {
    turn_index: turn,
    qa_generation: {
      user_message: question,
      intent: 'clarify',
      difficulty: 'easy',
      grounding_facts: [{ fact: 'High water follows the moon.', source_descriptor: 'tides.md#chunk0' }],
      coverage_target: 'tides-0',
      notes_for_assistant: [],
    },
    kb_answer: {
      assistant_message: `An old answer to: ${question}`,
      reasoning_trace: {
        question,
        retrieval_queries: { vector_db_search: ['high water moon'], web_search: [] },
        evidence: [{ id: 'E1', cue: 'KB: tides', content: 'High water follows the moon.' }],
        premises: [{ id: 'P1', text: 'The moon pulls the sea.', evidence_refs: ['E1'] }],
        thinking: [{ text: 'The moon, then the sea.' }],
        confidence: 'high',
        known_limits: [],
      },
      did_web_search: false,
    },
    qa_judge: { score: 8, reasons: [], notes: 'good', question_ok: true, answer_ok: true },
    qa_agent_used_name: 'old-user-model',
    kb_agent_used_name: 'old-assistant-model',
    seed_topic: '',
    seed_question: '',
    question_mode: turn === 1 ? 'fresh' : 'followup',
    tool_events: [
      {
        id: 'c1',
        name: 'vector_db_search',
        arguments: { query: 'high water moon' },
        result: { results: [] },
      },
    ],
    ...change,
  };
}

export interface OldSlot {
  readonly id: string;
  readonly target: number;
  readonly status?: 'active' | 'completed' | 'dropped';
  readonly turns: readonly OldTurn[];
  readonly rawResults?: readonly object[];
}

const inputs = (language: string) => ({
  question: '',
  target_language: language,
  user_persona: 'An old sailor | patient | plain words',
  assistant_persona: 'An old pilot | exact | short sentences',
  user_persona_id: 'old_sailor',
  assistant_persona_id: 'old_pilot',
});

export const UPDATED_AT = '2025-03-01T12:00:00.000000Z';

/** docs/outputs.md, batched. */
export function batchedState(runId: string, language: string, slots: readonly OldSlot[]): object {
  return {
    run_id: runId,
    status: 'in_progress',
    updated_at: UPDATED_AT,
    n_turns: Math.max(...slots.map((slot) => slot.target)),
    batch_size: slots.length,
    inputs: inputs(language),
    conversations: slots.map((slot, index) => ({
      conversation_index: index,
      conversation_id: slot.id,
      target_n_turns: slot.target,
      status: slot.status ?? (slot.turns.length >= slot.target ? 'completed' : 'active'),
      drop_reason: slot.status === 'dropped' ? 'dedup_exhausted' : '',
      inputs: inputs(language),
      turns: slot.turns,
      raw_results: slot.rawResults ?? [],
    })),
  };
}

/** docs/outputs.md, single. */
export function singleState(language: string, { id, target, turns }: OldSlot): object {
  const status = turns.length >= target ? 'completed' : 'in_progress';
  return {
    run_id: id,
    status,
    updated_at: UPDATED_AT,
    n_turns: target,
    inputs: inputs(language),
    turns,
    raw_results: [],
  };
}

/** docs/outputs.md. */
export function ledgerLine(question: string, timestamp = '2025-03-01T11:00:00.000000Z'): string {
  const normal = question.toLowerCase().split(/\s+/).filter(Boolean).join(' ');
  return pythonLine({
    timestamp,
    topic_id: 'tides-0',
    source_path: 'knowledge/tides.md',
    question,
    question_hash: createHash('sha256').update(normal).digest('hex').slice(0, 16),
    question_mode: 'fresh',
    seed_topic: '',
    seed_question: '',
    seed_question_hash: '',
  });
}

/** docs/outputs.md. */
export const indexLine = (id: string, language: string, turns: number): string =>
  pythonLine({
    conversation_id: id,
    timestamp: '2025-03-01T11:30:00.000000+00:00',
    n_turns: turns,
    seed_question: '',
    language,
    conversation_file: `outputs/conversations/${id}.json`,
  });

/** A line of `turns.jsonl`, as far as tests look at it. */
export const turnLine = (id: string, turn: number, question: string): string =>
  pythonLine({
    conversation_id: id,
    timestamp: '2025-03-01T11:30:00.000000+00:00',
    turn_index: turn,
    user_message: question,
    assistant_message: 'old',
  });

const pythonLine = (row: object): string =>
  `${JSON.stringify(row).replaceAll('":', '": ').replaceAll(',"', ', "')}\n`;

export interface OldOutputs {
  readonly states: Readonly<Record<string, object | string>>;
  readonly ledger?: readonly string[];
  /** What was written: id, language, questions. */
  readonly written?: readonly (readonly [string, string, readonly string[]])[];
  readonly lastRunId?: string;
}

/** An output folder as 0.1.0 left it; it touched every file at its start. */
export async function writeOldOutputs(
  folder: string,
  { states, ledger = [], written = [], lastRunId }: OldOutputs,
): Promise<void> {
  await mkdir(join(folder, 'run_state'), { recursive: true });
  await mkdir(join(folder, 'conversations'), { recursive: true });
  for (const [id, state] of Object.entries(states)) {
    const text = typeof state === 'string' ? state : JSON.stringify(state, null, 2);
    await writeFile(join(folder, 'run_state', `${id}.json`), text);
  }
  if (lastRunId !== undefined) await writeFile(join(folder, 'run_state', 'last_run_id.txt'), lastRunId);
  const lines = {
    'coverage_ledger.jsonl': ledger,
    'conversations_index.jsonl': written.map(([id, language, questions]) =>
      indexLine(id, language, questions.length),
    ),
    'turns.jsonl': written.flatMap(([id, , questions]) =>
      questions.map((question, i) => turnLine(id, i + 1, question)),
    ),
    'synthetic_qa.jsonl': written.map(([id]) => `{"conversation_id": "${id}"}\n`),
    'conversations_sharegpt.jsonl': written.map(
      ([id]) => `{"messages": [], "metadata": {"conversation_id": "${id}"}}\n`,
    ),
    'conversations_sharegpt_judged.jsonl': [],
  };
  for (const [name, content] of Object.entries(lines)) await writeFile(join(folder, name), content.join(''));
  for (const [id] of written)
    await writeFile(join(folder, 'conversations', `${id}.json`), `{\n  "conversation_id": "${id}"\n}`);
}
