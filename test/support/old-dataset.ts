/** Conversation folders as 0.1.0 left them, for whoever judges them. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pythonJson } from '../../src/dialogue/python-json.ts';
import { oldTurn, type OldTurn } from './legacy-files.ts';

export interface OldConversation {
  readonly id: string;
  readonly language: string;
  readonly turns: readonly OldTurn[];
  /** Its verdict in 0.1.0's pass by conversation; `{}` for none. */
  readonly conversationJudge: object;
}

export const OLD_SCORE = 3;
const OLD_VERDICT = {
  score: OLD_SCORE,
  reasons: ['vague'],
  notes: 'an old word',
  question_ok: true,
  answer_ok: false,
};

/** Judged by 0.1.0 in both granularities, one after the other, with what that mixed up (B13). */
export const oldConversation = (
  id: string,
  questions: readonly string[],
  language = 'english',
): OldConversation => ({
  id,
  language,
  turns: questions.map((question, i) => oldTurn(i + 1, question, { qa_judge: OLD_VERDICT })),
  conversationJudge: { ...OLD_VERDICT, notes: 'an old word on all' },
});

const TIMESTAMP = '2025-03-01T11:30:00.000000+00:00';

const inputsOf = ({ language, conversationJudge }: OldConversation) => ({
  question: '',
  target_language: language,
  user_persona: 'An old sailor | patient',
  assistant_persona: 'An old pilot | exact',
  judge_enabled: false,
  judge_granularity: 'turn',
  judge_reasons: ['vague'],
  conversation_judge: conversationJudge,
  project_root: '/home/sailor/project',
});

const rawResults = ({ turns, conversationJudge }: OldConversation) => [
  ...turns.map((turn) => ({
    turn_index: turn.turn_index,
    attempt: 0,
    qa_raw: null,
    kb_raw: null,
    judge_raw: { id: 'old' },
    qa_output: turn.qa_generation,
    kb_output: turn.kb_answer,
    qa_judge: turn.qa_judge,
  })),
  { conversation_judge_raw: { id: 'old' }, conversation_judge: conversationJudge },
];

export const oldRecord = (conversation: OldConversation): object => ({
  conversation_id: conversation.id,
  timestamp: TIMESTAMP,
  seed_question: '',
  inputs: inputsOf(conversation),
  n_turns: conversation.turns.length,
  language: conversation.language,
  personas: { user: 'An old sailor', assistant: 'An old pilot', user_id: 'sailor', assistant_id: 'pilot' },
  messages: [],
  conversation_judge: conversation.conversationJudge,
  turns: conversation.turns,
  conversation_history: [],
  raw_results: rawResults(conversation),
  a_field_of_their_own: { weights: ['NOT A NUMBER', 1.5] },
});

/** As Python writes it: NaN as it is, one point zero as `1.0`. */
export const asPython = (text: string): string =>
  text.replaceAll('"NOT A NUMBER"', 'NaN, 1.0, "half \\ud83d", "a\u2028b"');

const line = (row: object): string => `${asPython(pythonJson(row))}\n`;

function turnLines({ id, turns, conversationJudge }: OldConversation): string[] {
  return turns.map((turn) =>
    line({
      conversation_id: id,
      timestamp: TIMESTAMP,
      turn_index: turn.turn_index,
      user_message: turn.qa_generation['user_message'],
      assistant_message: turn.kb_answer['assistant_message'],
      judge_granularity: 'turn',
      judge_score: OLD_SCORE,
      judge_reasons: ['vague'],
      judge_notes: 'an old word',
      judge_question_ok: true,
      judge_answer_ok: false,
      conversation_judge_score: (conversationJudge as { score?: number }).score ?? null,
      conversation_judge_reasons: [],
      their_own: ['NOT A NUMBER'],
    }),
  );
}

const shareGpt = (conversation: OldConversation) => ({
  messages: conversation.turns.flatMap(({ qa_generation, kb_answer }) => [
    { role: 'user', content: qa_generation['user_message'] },
    { role: 'assistant', content: kb_answer['assistant_message'] },
  ]),
  messages_with_tools: [],
  metadata: { conversation_id: conversation.id, judge_granularity: 'turn', their_own: ['NOT A NUMBER'] },
  user_reasoning: [],
  assistant_reasoning: [],
});

/** All artifacts of a dataset of 0.1.0; `offline` has no judged lines, as its default mode had none. */
export async function writeOldDataset(
  folder: string,
  conversations: readonly OldConversation[],
  { offline = false }: { readonly offline?: boolean } = {},
): Promise<void> {
  await mkdir(join(folder, 'conversations'), { recursive: true });
  await mkdir(join(folder, 'run_state'), { recursive: true });
  for (const conversation of conversations) {
    const text = asPython(JSON.stringify(oldRecord(conversation), null, 2));
    await writeFile(join(folder, 'conversations', `${conversation.id}.json`), text);
  }
  const each = (rows: (conversation: OldConversation) => string | readonly string[]): string =>
    conversations.flatMap(rows).join('');
  const files = {
    'synthetic_qa.jsonl': each((c) =>
      line({
        conversation_id: c.id,
        timestamp: TIMESTAMP,
        inputs: inputsOf(c),
        qa_judge: c.turns.at(-1)?.qa_judge ?? {},
        conversation_judge: c.conversationJudge,
        turns: c.turns,
        raw_results: rawResults(c),
        their_own: ['NOT A NUMBER'],
      }),
    ),
    'conversations_index.jsonl': each((c) => line({ conversation_id: c.id, their_own: ['NOT A NUMBER'] })),
    'conversations_sharegpt.jsonl': each((c) => line(shareGpt(c))),
    'conversations_sharegpt_judged.jsonl': offline
      ? ''
      : each((c) =>
          line({
            ...shareGpt(c),
            judge: { per_turn: [], avg_score: OLD_SCORE, conversation: c.conversationJudge },
          }),
        ),
    'turns.jsonl': each(turnLines),
    'coverage_ledger.jsonl': '',
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
}
