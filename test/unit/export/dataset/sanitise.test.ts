import { expect, test } from 'vitest';
import * as fc from 'fast-check';
import { pythonJson } from '../../../../src/dialogue/python-json.ts';
import { sanitiseRow } from '../../../../src/export/dataset/sanitise.ts';
import { COLUMN_FIELDS, type ExportRow, type Field } from '../../../../src/export/dataset/schema.ts';

const traceOf = (trace: unknown) =>
  sanitise({ assistant_reasoning: [{ reasoning_trace: trace }] }).assistant_reasoning[0]?.reasoning_trace;

const sanitise = (known: object, unknown = {}): ExportRow => sanitiseRow({ known, unknown }).row;

test('an empty trace has every field', () => {
  expect(traceOf({})).toEqual({
    question: '',
    retrieval_queries: { vector_db_search: [], web_search: [] },
    evidence: [],
    premises: [],
    thinking: [],
    confidence: '',
    known_limits: [],
    extra: '',
  });
});

test('I2: a thinking text, evidence text and premise text become lists of one', () => {
  const trace = traceOf({ thinking: 'first this', evidence: 'a fact', premises: 'given' });
  expect(trace?.thinking).toEqual([{ text: 'first this' }]);
  expect(trace?.evidence).toEqual([{ id: '', cue: '', content: 'a fact' }]);
  expect(trace?.premises).toEqual([{ id: '', text: 'given', evidence_refs: [], assumption: '' }]);
  expect(traceOf({ thinking: null })?.thinking).toEqual([]);
});

test('a step of thinking takes its text from what the models called it', () => {
  const steps = [
    { text: 'a' },
    { text: ' ', note: 'b' },
    { thought: 'c' },
    'd',
    5,
    null,
    { assumption: 'e', note: 'f' },
  ];
  const trace = traceOf({ thinking: steps });
  expect(trace?.thinking.map(({ text }) => text)).toEqual(['a', 'b', 'c', 'd', '5', '', 'e']);
  expect(JSON.parse(trace?.extra ?? '')).toEqual({ 'thinking[6].note': 'f' });
});

test('premises take their assumption from a note where there is none', () => {
  const premises = [
    { id: 1, text: true, evidence_refs: ['E1', null, ' ', 2], assumption: null, note: 'n' },
    { text_note: 't' },
    7,
  ];
  expect(traceOf({ premises })?.premises).toEqual([
    { id: '1', text: 'True', evidence_refs: ['E1', '2'], assumption: 'n' },
    { id: '', text: '', evidence_refs: [], assumption: 't' },
    { id: '', text: '7', evidence_refs: [], assumption: '' },
  ]);
});

test('values that are no text are spelt as Python does', () => {
  expect(traceOf({ confidence: true })?.confidence).toBe('True');
  expect(traceOf({ question: { a: [1, null, "it's"] } })?.question).toBe(`{'a': [1, None, "it's"]}`);
  expect(traceOf({ known_limits: [null, ' ', 3, 'x'] })?.known_limits).toEqual(['3', 'x']);
  expect(traceOf({ known_limits: 'one' })?.known_limits).toEqual(['one']);
});

test('I8: keys without a field are kept, in the trace for what is in a trace, else in the metadata', () => {
  const row = sanitise(
    {
      messages: [{ role: 'user', content: 'q', weight: 2 }],
      metadata: { language: 'en', source: { a: 1 } },
      assistant_reasoning: [
        {
          turn_index: 1,
          style: 'plain',
          reasoning_trace: {
            plan: ['x'],
            retrieval_queries: { vector_db_search: 'v', sql: 's' },
            evidence: [{ id: 'E1', url: 'u' }],
          },
        },
      ],
      judge: { per_turn: [{ turn_index: 1, score: 'good', rubric: 'r' }] },
    },
    { custom: 'column' },
  );
  expect(JSON.parse(row.assistant_reasoning[0]?.reasoning_trace.extra ?? '')).toEqual({
    plan: ['x'],
    'retrieval_queries.sql': 's',
    'evidence[0].url': 'u',
  });
  expect(JSON.parse(row.metadata.extra)).toEqual({
    custom: 'column',
    'messages[0].weight': 2,
    'metadata.source': { a: 1 },
    'assistant_reasoning[0].style': 'plain',
    'judge.per_turn[0].score': 'good',
    'judge.per_turn[0].rubric': 'r',
  });
  expect(row.messages).toEqual([{ role: 'user', content: 'q', agent: '' }]);
});

test('what stands in place of a trace or of queries is kept', () => {
  expect(JSON.parse(traceOf('only text')?.extra ?? '')).toEqual({ value: 'only text' });
  expect(JSON.parse(traceOf({ retrieval_queries: ['q'] })?.extra ?? '')).toEqual({
    retrieval_queries: ['q'],
  });
});

test('numbers and truth values have their type; a number may be written as text', () => {
  const row = sanitise({
    metadata: { n_turns: '3' },
    judge: {
      avg_score: '8.5',
      per_turn: [{ score: 7, question_ok: 'True', answer_ok: 'maybe', turn_index: 1.5 }],
      conversation: {},
    },
  });
  expect(row.metadata.n_turns).toBe(3);
  expect(row.judge.avg_score).toBe(8.5);
  expect(row.judge.per_turn[0]).toMatchObject({
    score: 7,
    question_ok: true,
    answer_ok: null,
    turn_index: null,
  });
  expect(JSON.parse(row.metadata.extra)).toEqual({
    'judge.per_turn[0].answer_ok': 'maybe',
    'judge.per_turn[0].turn_index': 1.5,
  });
  expect(row.judge.conversation).toEqual({
    score: null,
    reasons: [],
    notes: '',
    question_ok: null,
    answer_ok: null,
  });
});

test('half a surrogate pair becomes U+FFFD and is counted; U+2028 stays', () => {
  const { row, replacedTexts } = sanitiseRow({
    known: { messages: [{ role: 'user', content: 'a\ud800b\u2028c' }] },
    unknown: {},
  });
  expect(row.messages[0]?.content).toBe('a\ufffdb\u2028c');
  expect(replacedTexts).toBe(1);
});

test('I11: a model that is named by its folder is named by the last part of it', () => {
  const agents = [
    'openai/gpt-x',
    'vllm//srv/models/teller-7b/',
    '/srv/teller',
    'C:\\models\\t',
    '~/m',
    'org/model',
    '',
  ];
  const messages = agents.map((agent) => ({ role: 'user', content: 'q', agent }));
  const row = sanitise({ messages, messages_with_tools: messages });
  const shown = ['openai/gpt-x', 'vllm/teller-7b', 'teller', 't', 'm', 'org/model', ''];
  expect(row.messages.map(({ agent }) => agent)).toEqual(shown);
  expect(row.messages_with_tools.map(({ agent }) => agent)).toEqual(shown);
});

const anything = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.double(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(
      fc.constantFrom(
        'role',
        'content',
        'text',
        'note',
        'thinking',
        'reasoning_trace',
        'per_turn',
        'extra',
        'odd',
        '__proto__',
      ),
      tie('value'),
      { maxKeys: 4 },
    ),
  ),
})).value;

test('I8: whatever a row holds, it has the types of the schema, and sanitising again changes nothing', () => {
  fc.assert(
    fc.property(
      fc.record(
        { messages: anything, metadata: anything, assistant_reasoning: anything, judge: anything },
        { requiredKeys: [] },
      ),
      (known) => {
        const row = sanitise(known);
        for (const [column, field] of Object.entries(COLUMN_FIELDS))
          expectType(field, row[column as keyof ExportRow], column);
        expect(pythonJson(sanitise(row))).toBe(pythonJson(row));
      },
    ),
    { numRuns: 300 },
  );
});

test('I8: what is kept keeps its numbers as they are written, however often it is exported', () => {
  const extra = '{"messages[0].n": 12345678901234567890123, "messages[0].weight": 1.0}';
  expect(sanitise({ metadata: { extra } }).metadata.extra).toBe(extra);
});

test('I8: arguments of a call that stand there as an object are JSON all the same', () => {
  const call = {
    id: 'c1',
    type: 'function',
    function: { name: 'search', arguments: { query: 'tide', k: 2 } },
  };
  const [message] = sanitise({
    messages_with_tools: [{ role: 'assistant', tool_calls: [call] }],
  }).messages_with_tools;
  expect(message?.tool_calls[0]?.function.arguments).toBe('{"query": "tide", "k": 2}');
});

function expectType(field: Field, value: unknown, place: string): void {
  if (field === 'text') expect(typeof value === 'string' && value.isWellFormed(), place).toBe(true);
  else if (field === 'whole') expect(value === null || Number.isSafeInteger(value), place).toBe(true);
  else if (field === 'number') expect(value === null || Number.isFinite(value), place).toBe(true);
  else if (field === 'truth') expect(value === null || typeof value === 'boolean', place).toBe(true);
  else if (field.kind === 'object') {
    expect(Object.keys(value as object), place).toEqual(Object.keys(field.fields));
    for (const [name, inner] of Object.entries(field.fields))
      expectType(inner, (value as Record<string, unknown>)[name], `${place}.${name}`);
  } else {
    expect(Array.isArray(value), place).toBe(true);
    for (const item of value as unknown[])
      expectType(field.kind === 'texts' ? 'text' : field.item, item, `${place}[]`);
  }
}
