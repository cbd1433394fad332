import { describe, expect, test } from 'vitest';
import type {
  ConversationPayload,
  JsonObject,
  JsonValue,
} from '../../../src/dialogue/conversation-record.ts';
import { pythonJson, pythonJsonIndented } from '../../../src/dialogue/python-json.ts';
import { quotedAnswers } from '../../../src/dialogue/raw-results.ts';
import { normaliseTrace } from '../../../src/dialogue/reasoning-trace.ts';
import { messagesWithTools } from '../../../src/dialogue/record-messages.ts';
import type { RecordSource } from '../../../src/dialogue/record-parts.ts';
import {
  conversationFile,
  indexRow,
  inputsOf,
  ledgerRow,
  syntheticQaRow,
  turnRows,
} from '../../../src/dialogue/records.ts';
import {
  DEFAULT_COLUMNS,
  judgeColumn,
  type OutputColumns,
  sharegptRow,
} from '../../../src/dialogue/sharegpt-record.ts';
import { committed, COMMITTED_AT, samplePayload, sampleTurn } from '../export/sample-dataset.ts';

const body = (seq: number): JsonObject => ({
  id: `resp-${seq}`,
  object: 'chat.completion',
  created: seq,
  model: 'lab-1',
  choices: [{ index: 0, message: { role: 'assistant', content: `answer ${seq}` }, finish_reason: 'stop' }],
  usage: { prompt_tokens: seq },
  system_fingerprint: `fp${seq}`,
});

const source = (over: Partial<ConversationPayload> = {}): RecordSource => ({
  payload: samplePayload(0, over),
  committedAtMs: COMMITTED_AT,
  rawResponses: new Map([1, 2, 3, 4, 5].map((seq) => [seq, body(seq)])),
});

/** As the exporter puts the two together. */
const judgedRow = (from: RecordSource, columns: OutputColumns): object | null => {
  const judge = judgeColumn(from);
  return judge === null ? null : { ...sharegptRow(from, columns), [columns.judge]: judge };
};

/** What a reader of the file gets. */
const parsed = (row: object | null): Record<string, JsonValue> =>
  JSON.parse(pythonJson(row)) as Record<string, JsonValue>;

describe('a golden example of each record', () => {
  const golden = {
    'synthetic-qa-row': () => syntheticQaRow(source()),
    'conversation-file': () => conversationFile(source()),
    'index-row': () => indexRow(source(), 'outputs/conversations/harbour-en-0000.json'),
    'turn-rows': () => turnRows(source()),
    'judged-row': () => judgedRow(source(), DEFAULT_COLUMNS),
    'ledger-rows': () => committed(1, samplePayload(0)).ledger.map((entry) => ledgerRow(entry, COMMITTED_AT)),
  };
  test.each(Object.entries(golden))('%s', async (name, row) => {
    await expect(`${pythonJsonIndented(row())}\n`).toMatchFileSnapshot(`golden/${name}.golden`);
  });

  test('the ShareGPT row is the judged row without its verdicts', () => {
    const { judge, ...rest } = parsed(judgedRow(source(), DEFAULT_COLUMNS));
    expect(judge).toBeDefined();
    expect(parsed(sharegptRow(source(), DEFAULT_COLUMNS))).toEqual(rest);
  });
});

test('columns can be renamed', () => {
  const columns = { ...DEFAULT_COLUMNS, messages: 'conversations', judge: 'verdicts' };
  expect(Object.keys(judgedRow(source(), columns) ?? {})).toEqual([
    'conversations',
    'messages_with_tools',
    'metadata',
    'user_reasoning',
    'assistant_reasoning',
    'verdicts',
  ]);
});

test('turns.jsonl has 23 fields, lists are never null, what is missing is', () => {
  const [row] = turnRows(
    source({ turns: [sampleTurn(1, { question: { user_message: 'Q?' }, verdict: null })] }),
  );
  expect(Object.keys(row ?? {})).toHaveLength(23);
  expect(parsed(row ?? null)).toMatchObject({
    intent: null,
    grounding_facts: [],
    judge_score: null,
    judge_reasons: [],
    conversation_judge_score: null,
    seed_topic: '',
  });
});

test('I11 no path of this machine is in the inputs; nothing tells of workers or resumes', () => {
  const inputs = parsed(inputsOf(samplePayload(3), 'completed', ''));
  expect(inputs).toMatchObject({
    project_root: '.',
    config_dir: '.',
    resume_run_id: '',
    run_id: 'harbour-en-0003',
  });
  expect(inputs).not.toHaveProperty('batch_size');
});

test('B10 n_turns is the number of turns that there are, not the target', () => {
  const short = source({ targetTurns: 4, turns: [sampleTurn(1)] });
  expect(parsed(conversationFile(short))['n_turns']).toBe(1);
  expect(parsed(inputsOf(short.payload, 'completed', ''))['n_turns']).toBe(1);
  expect(parsed(parsed(sharegptRow(short, DEFAULT_COLUMNS))['metadata'] as object)['n_turns']).toBe(1);
});

test('rehearsal answers are marked; real ones have no mark', () => {
  const rehearsed = source({ rehearsal: true });
  expect(pythonJson(indexRow(rehearsed, 'x'))).toMatch(/"conversation_file": "x", "rehearsal": true\}$/);
  expect(parsed(sharegptRow(rehearsed, DEFAULT_COLUMNS))['metadata']).toMatchObject({ rehearsal: true });
  expect(parsed(syntheticQaRow(rehearsed))['inputs']).toMatchObject({ rehearsal: true });
  expect(pythonJson(conversationFile(source()))).not.toContain('rehearsal');
});

describe('tool rounds', () => {
  const call = (id: string, query: string) => ({
    id,
    name: 'vector_db_search',
    arguments: { query },
    result: { rendered: `é ${query}` },
  });
  const turn = sampleTurn(3, {
    toolRounds: [
      { content: 'first thought', calls: [call('', 'one'), call('x', 'two')] },
      { content: '', calls: [call('', 'three'), call('x', 'four')] },
    ],
  });
  const payload = samplePayload(0, { turns: [turn] });

  test('J1 each round is a message of its own, with its text, its calls and then its results', () => {
    const roles = (messagesWithTools(payload) as { role: string; content: string }[]).map(
      ({ role, content }) => [role, content],
    );
    expect(roles).toEqual([
      ['user', 'How deep is basin 3?'],
      ['assistant', 'first thought'],
      ['tool', '{"rendered": "é one"}'],
      ['tool', '{"rendered": "é two"}'],
      ['assistant', ''],
      ['tool', '{"rendered": "é three"}'],
      ['tool', '{"rendered": "é four"}'],
      ['assistant', 'Nine metres in basin 3.'],
    ]);
  });

  test('J3 a missing or repeated id is the same new one in call, result and tool_events', () => {
    const list = messagesWithTools(payload) as { tool_calls?: { id: string }[]; tool_call_id?: string }[];
    const calls = list.flatMap((message) => message.tool_calls ?? []).map(({ id }) => id);
    const results = list.flatMap((message) => message.tool_call_id ?? []);
    expect(calls).toEqual(['call_3_0', 'x', 'call_3_2', 'call_3_3']);
    expect(results).toEqual(calls);
    const [record] = parsed(syntheticQaRow({ ...source(), payload }))['turns'] as unknown as {
      tool_events: { id: string }[];
    }[];
    expect(record?.tool_events.map(({ id }) => id)).toEqual(calls);
  });

  test('J4 every response of a tool loop is kept, in order', () => {
    const [first] = parsed(syntheticQaRow(source()))['raw_results'] as unknown as Record<
      string,
      { choices: unknown[] }[]
    >[];
    expect(first?.['kb_raw']).toMatchObject({ choices: [{ message: { content: 'answer 3' } }] });
    expect(first?.['kb_raw_rounds']).toMatchObject([
      { choices: [{ message: { content: 'answer 2' } }] },
      { choices: [{ message: { content: 'answer 3' } }] },
    ]);
    const one = sampleTurn(1, { answerSeqs: { question: [1], answer: [2], judge: [] } });
    const [only] = parsed(syntheticQaRow(source({ turns: [one] })))['raw_results'] as unknown as JsonObject[];
    expect(only).not.toHaveProperty('kb_raw_rounds');
    expect(only).toMatchObject({ judge_raw: null });
  });

  test('D15 a payload names the answers that its records quote and holds none of their bodies', () => {
    expect(
      quotedAnswers(samplePayload(0, { conversationJudge: { score: 1 }, conversationJudgeAnswerSeq: 9 })),
    ).toEqual([1, 2, 3, 4, 1, 2, 3, 4, 9]);
  });
});

test('I5 what differs between equal answers is in no record', () => {
  const later = new Map(
    [1, 2, 3, 4].map((seq) => [
      seq,
      { ...body(seq), id: 'other', created: 0, usage: {}, system_fingerprint: '' },
    ]),
  );
  for (const build of [syntheticQaRow, conversationFile]) {
    expect(pythonJson(build({ ...source(), rawResponses: later }))).toBe(pythonJson(build(source())));
  }
});

describe('scores', () => {
  const scored = (...scores: JsonValue[]) =>
    source({
      turns: scores.map((score, at) => sampleTurn(at + 1, { verdict: { score, reasons: [], notes: '' } })),
    });
  const judge = (from: RecordSource) => parsed(judgedRow(from, DEFAULT_COLUMNS))['judge'];

  test('J2 only numbers from 0 to 10 count', () => {
    expect(judge(scored('8', true, 99, -1, null, 4))).toMatchObject({
      avg_score: 6,
      per_turn: [
        { score: 8 },
        { score: null },
        { score: null },
        { score: null },
        { score: null },
        { score: 4 },
      ],
    });
    expect(judge(scored(true))).toMatchObject({ avg_score: null });
  });

  test('the mean is a float in the file', () => {
    expect(pythonJson(judgedRow(scored(8, 8), DEFAULT_COLUMNS))).toContain('"avg_score": 8.0');
  });

  test('E18 no verdict is no score, never 0', () => {
    const unjudged = source({ turns: [sampleTurn(1, { verdict: null }), sampleTurn(2)] });
    expect(judge(unjudged)).toMatchObject({ avg_score: 8, per_turn: [{ turn_index: 2 }] });
    expect(parsed(turnRows(unjudged)[0] ?? null)['judge_score']).toBeNull();
    expect(parsed(syntheticQaRow(unjudged))['turns']).toMatchObject([
      { qa_judge: {} },
      { qa_judge: { score: 8 } },
    ]);
  });

  test('without a judge there is no judged row', () => {
    const inputs = { ...samplePayload(0).inputs, judge_enabled: false };
    expect(
      judgedRow(source({ inputs, turns: [sampleTurn(1, { verdict: null })] }), DEFAULT_COLUMNS),
    ).toBeNull();
    const overall = { conversationJudge: { score: 7, notes: 'fine' }, conversationJudgeAnswerSeq: 5 };
    const granular = { ...inputs, judge_granularity: 'conversation' as const };
    const row = source({ inputs: granular, turns: [sampleTurn(1, { verdict: null })], ...overall });
    expect(judge(row)).toEqual({ per_turn: [], avg_score: null, conversation: { score: 7, notes: 'fine' } });
    expect(parsed(syntheticQaRow(row))['inputs']).toMatchObject({ conversation_judge: { score: 7 } });
    expect(parsed(syntheticQaRow(row))['raw_results']).toMatchObject([
      {},
      { conversation_judge_raw: { model: 'lab-1' }, conversation_judge: { score: 7 } },
    ]);
    expect(parsed(turnRows(row)[0] ?? null)['conversation_judge_score']).toBe(7);
  });
});

test('A12 empty messages are in no list of messages', () => {
  const silent = source({ turns: [sampleTurn(1, { answer: { assistant_message: '' }, toolRounds: [] })] });
  const row = parsed(sharegptRow(silent, DEFAULT_COLUMNS));
  expect(row['messages']).toHaveLength(1);
  expect(row['messages_with_tools']).toHaveLength(1);
});

test('A7 wrong types from a model never break a record', () => {
  const odd = sampleTurn(1, {
    question: {
      user_message: 5,
      difficulty: 3,
      intent: ['x'],
      coverage_target: ['p1'],
      grounding_facts: 'no list',
    },
    answer: { assistant_message: null, reasoning_trace: 'because', did_web_search: 'maybe' },
    verdict: { score: 'good', reasons: 'none' },
  });
  const from = source({ turns: [odd] });
  for (const build of [syntheticQaRow, conversationFile, turnRows])
    expect(() => pythonJson(build(from))).not.toThrow();
  expect(parsed(sharegptRow(from, DEFAULT_COLUMNS))['metadata']).toMatchObject({
    difficulty_sequence: ['3'],
    difficulty_max: '',
    coverage_targets: ["['p1']"],
  });
});

describe('reasoning traces in columns', () => {
  test.each<[string, JsonValue | undefined, JsonObject]>([
    ['no object', ['x'], {}],
    ['absent', undefined, {}],
    ['thinking as text', { thinking: 'so' }, { thinking: [{ text: 'so' }] }],
    ['thinking as a number', { thinking: 3 }, { thinking: [{ text: '3' }] }],
    [
      'thinking as a list',
      { thinking: ['a', null, { text: null, why: 1 }] },
      { thinking: [{ text: 'a' }, { text: '' }, { text: '', why: 1 }] },
    ],
    ['thinking null', { thinking: null }, { thinking: null }],
    [
      'premises',
      { premises: [{ id: 1, text: null, evidence_refs: 'E1', note: true, more: 1 }, 'bare'], other: 2 },
      {
        premises: [
          { id: '1', text: '', evidence_refs: ['E1'], assumption: 'true' },
          { id: '', text: 'bare', evidence_refs: [], assumption: '' },
        ],
        other: 2,
      },
    ],
    [
      'references',
      { premises: [{ evidence_refs: ['E1', ' ', 2] }, { evidence_refs: null, text_note: false }] },
      {
        premises: [
          { id: '', text: '', evidence_refs: ['E1', '2'], assumption: '' },
          { id: '', text: '', evidence_refs: [], assumption: 'false' },
        ],
      },
    ],
  ])('%s', (_name, trace, expected) => {
    expect(normaliseTrace(trace)).toEqual(expected);
  });
});
