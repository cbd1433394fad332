import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readRunState } from '../../../src/export/legacy-run-state.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-state-'));
  path = join(folder, 'old.json');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const turn = (index: number): object => ({
  turn_index: index,
  qa_generation: { user_message: `Q${index}?`, coverage_target: ' p7 ' },
  kb_answer: { assistant_message: 'A.', did_web_search: false },
  qa_judge: index === 1 ? { score: 8 } : {},
  qa_agent_used_name: 'lab/u',
  kb_agent_used_name: 'lab/a',
  seed_topic: 'tides',
  seed_question: '',
  question_mode: 'fresh',
  tool_events: [{ id: null, name: 'vector_db_search', arguments: { query: 'x' }, result: { results: [] } }],
});

const single = {
  run_id: 'old',
  status: 'in_progress',
  updated_at: '2025-01-01T00:00:00.000000Z',
  n_turns: 3,
  inputs: { target_language: 'en' },
  turns: [turn(1), turn(2)],
  raw_results: [{ turn_index: 1 }],
};

const slot = (index: number, over: object = {}): object => ({
  conversation_index: index,
  conversation_id: `old-000${index}`,
  target_n_turns: 2,
  status: 'active',
  drop_reason: '',
  inputs: {},
  turns: [],
  raw_results: [],
  ...over,
});

const batched = {
  run_id: 'old',
  status: 'resumed',
  updated_at: '',
  n_turns: 2,
  batch_size: 3,
  inputs: {},
  conversations: [
    slot(2, { status: 'dropped', drop_reason: 'dedup_exhausted' }),
    slot(0, { status: 'completed', turns: [turn(1)] }),
    slot(1, { status: 'lost' }),
  ],
};

test('a state of one conversation', async () => {
  await writeFile(path, JSON.stringify(single));
  const state = await readRunState(path);
  expect(state).toMatchObject({
    kind: 'single',
    runId: 'old',
    status: 'in_progress',
    inputs: { target_language: 'en' },
  });
  expect(state?.conversations).toHaveLength(1);
  expect(state?.conversations[0]).toMatchObject({
    index: 0,
    conversationId: 'old',
    targetTurns: 3,
    status: 'active',
  });
  expect(state?.conversations[0]?.turns).toMatchObject([
    {
      turn: 1,
      attempt: 0,
      mode: 'fresh',
      seedTopic: 'tides',
      verdict: { score: 8 },
      agents: { user: 'lab/u', assistant: 'lab/a' },
      coverage: { passageId: 'p7' },
      toolRounds: [{ content: '', calls: [{ id: '', name: 'vector_db_search', arguments: { query: 'x' } }] }],
      answerSeqs: { question: [], answer: [], judge: [] },
    },
    { turn: 2, verdict: null },
  ]);
});

test('a state of a batch, in order of index; an unknown status is active', async () => {
  await writeFile(path, JSON.stringify(batched));
  const state = await readRunState(path);
  expect(state?.kind).toBe('batched');
  expect(state?.conversations).toMatchObject([
    { index: 0, conversationId: 'old-0000', status: 'completed', turns: [{ turn: 1 }] },
    { index: 1, status: 'active' },
    { index: 2, status: 'dropped', dropReason: 'dedup_exhausted' },
  ]);
});

test('A14 NaN that 0.1.0 let through is read as null', async () => {
  await writeFile(path, JSON.stringify(single).replace('"score":8', '"score":NaN'));
  expect((await readRunState(path))?.conversations[0]?.turns[0]?.verdict).toEqual({ score: null });
});

describe('B14 a missing state is null, a damaged one an error that names file and place', () => {
  test('missing', async () => {
    expect(await readRunState(path)).toBeNull();
  });

  test.each([
    ['', /it is empty/],
    ['{"run_id": "old", "conv', /JSON.*position|position.*JSON/i],
    ['[]', /the whole file/],
    [JSON.stringify({ ...single, n_turns: 'three' }), /n_turns/],
    [JSON.stringify({ ...single, turns: undefined }), /turns/],
    [
      JSON.stringify({ ...single, turns: [turn(1), { ...turn(2), kb_answer: null }] }),
      /turns\[1\]\.kb_answer/,
    ],
    [JSON.stringify({ ...batched, conversations: undefined }), /conversations/],
    [
      JSON.stringify({ ...batched, conversations: [slot(0, { conversation_id: 4 })] }),
      /conversations\[0\]\.conversation_id/,
    ],
  ])('%s', async (text, place) => {
    await writeFile(path, text);
    const error = await readRunState(path).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'resume', message: expect.stringContaining(path) });
    expect((error as Error).message).toMatch(place);
  });
});
