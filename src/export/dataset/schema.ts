/**
 * The one schema of an exported row. The sanitiser brings every row into it, the Parquet writer takes its
 * types from it, the card declares it, docs/datasets.md prints it: whatever a model or an old file holds,
 * rows have the same keys and types, so that loaders see no drift (faults I1, I2, I8).
 */
import type { OutputColumns } from '../../dialogue/sharegpt-record.ts';

/** The columns, by the names that they have when they are not renamed. */
export type Column = keyof OutputColumns;

/** A field that is neither a list nor an object. Numbers and truth values may be null, texts may not. */
export type Leaf = 'text' | 'whole' | 'number' | 'truth';

/** Texts; blank ones are left out. */
export interface TextsField {
  readonly kind: 'texts';
}

export interface ListField {
  readonly kind: 'list';
  readonly item: ObjectField;
}

export interface ObjectField {
  readonly kind: 'object';
  readonly fields: Readonly<Record<string, Field>>;
  /** The field that takes a value which is no object. */
  readonly loose?: string;
  /** Other names of a text field; the first that is not blank gives it. */
  readonly otherNames?: Readonly<Record<string, readonly string[]>>;
  /** A text field that is JSON: an object that stands there in its place is written as such. */
  readonly json?: string;
  /** What has no field in any part of this object is kept in its own `extra`, else in that of `metadata`. */
  readonly keepsExtra?: true;
}

export type Field = Leaf | TextsField | ListField | ObjectField;

/** The name of the text field that holds, as JSON, what has no field of its own. */
export const EXTRA = 'extra';

const TEXTS = { kind: 'texts' } as const;

const object = <const F extends Readonly<Record<string, Field>>>(
  fields: F,
  more: Omit<ObjectField, 'kind' | 'fields'> = {},
) => ({ kind: 'object', fields, ...more }) as const;

const listOf = <const O extends ObjectField>(item: O) => ({ kind: 'list', item }) as const;

const trace = object(
  {
    question: 'text',
    retrieval_queries: object({ vector_db_search: TEXTS, web_search: TEXTS }),
    evidence: listOf(object({ id: 'text', cue: 'text', content: 'text' }, { loose: 'content' })),
    premises: listOf(
      object(
        { id: 'text', text: 'text', evidence_refs: TEXTS, assumption: 'text' },
        { loose: 'text', otherNames: { assumption: ['note', 'text_note'] } },
      ),
    ),
    thinking: listOf(
      object(
        { text: 'text' },
        {
          loose: 'text',
          otherNames: { text: ['assumption', 'text_is_assumption', 'note', 'content', 'thought'] },
        },
      ),
    ),
    confidence: 'text',
    known_limits: TEXTS,
    [EXTRA]: 'text',
  },
  { keepsExtra: true },
);

const verdict = {
  score: 'number',
  reasons: TEXTS,
  notes: 'text',
  question_ok: 'truth',
  answer_ok: 'truth',
} as const;

/** Every column and its type, in the order of the file. */
export const COLUMN_FIELDS = {
  messages: listOf(object({ role: 'text', content: 'text', agent: 'text' }, { loose: 'content' })),
  messages_with_tools: listOf(
    object(
      {
        role: 'text',
        content: 'text',
        tool_calls: listOf(
          object({
            id: 'text',
            type: 'text',
            function: object({ name: 'text', arguments: 'text' }, { json: 'arguments' }),
          }),
        ),
        tool_call_id: 'text',
        name: 'text',
        agent: 'text',
      },
      { loose: 'content' },
    ),
  ),
  metadata: object({
    conversation_id: 'text',
    timestamp: 'text',
    n_turns: 'whole',
    language: 'text',
    judge_granularity: 'text',
    personas: object({ user: 'text', assistant: 'text', user_id: 'text', assistant_id: 'text' }),
    difficulty_sequence: TEXTS,
    difficulty_max: 'text',
    intent_sequence: TEXTS,
    coverage_targets: TEXTS,
    question_modes: TEXTS,
    seed_topics: TEXTS,
    seed_questions: TEXTS,
    rehearsal: 'truth',
    [EXTRA]: 'text',
  }),
  user_reasoning: listOf(
    object(
      {
        turn_index: 'whole',
        user_message: 'text',
        intent: 'text',
        difficulty: 'text',
        coverage_target: 'text',
        grounding_facts: listOf(object({ fact: 'text', source_descriptor: 'text' }, { loose: 'fact' })),
        notes_for_assistant: TEXTS,
        seed_topic: 'text',
        seed_question: 'text',
        question_mode: 'text',
      },
      { loose: 'user_message' },
    ),
  ),
  assistant_reasoning: listOf(
    object(
      {
        turn_index: 'whole',
        assistant_message: 'text',
        reasoning_trace: trace,
        did_web_search: 'truth',
      },
      { loose: 'assistant_message' },
    ),
  ),
  judge: object({
    per_turn: listOf(
      object(
        { turn_index: 'whole', user_message: 'text', assistant_message: 'text', ...verdict },
        { loose: 'notes' },
      ),
    ),
    avg_score: 'number',
    conversation: object(verdict, { loose: 'notes' }),
  }),
} as const satisfies Readonly<Record<Column, Field>>;

/** What a field holds once it is sanitised. */
export type ValueOf<F> = F extends 'text'
  ? string
  : F extends 'whole' | 'number'
    ? number | null
    : F extends 'truth'
      ? boolean | null
      : F extends TextsField
        ? readonly string[]
        : F extends { readonly kind: 'list'; readonly item: infer I }
          ? readonly ValueOf<I>[]
          : F extends { readonly fields: infer O }
            ? { readonly [K in keyof O]: ValueOf<O[K]> }
            : never;

type Columns = typeof COLUMN_FIELDS;

/** A row of the export, under the default names; they are changed to the configured ones when it is written. */
export type ExportRow = { readonly [C in Column]: ValueOf<Columns[C]> };

/** The columns of an export, in order; one from a source without verdicts has no judge column. */
export const columnsOf = (hasJudge: boolean): readonly Column[] =>
  (Object.keys(COLUMN_FIELDS) as Column[]).filter((column) => hasJudge || column !== 'judge');
