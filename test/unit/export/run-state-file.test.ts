import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CommittedConversation } from '../../../src/ports/store.ts';
import { readRunState } from '../../../src/export/legacy-run-state.ts';
import { runStatePath, type RunStateOptions, writeRunState } from '../../../src/export/run-state-file.ts';
import { arrayStore, COMMITTED_AT, DATASET, sampleCommit, samplePayload } from './sample-dataset.ts';

let out: string;
beforeEach(async () => {
  out = await mkdtemp(join(tmpdir(), 'dlgforge-runstate-'));
  await mkdir(join(out, 'run_state'));
});
afterEach(() => rm(out, { recursive: true, force: true }));

const options = (
  conversations: AsyncIterable<CommittedConversation>,
  over: Partial<RunStateOptions> = {},
): RunStateOptions => ({
  outputDir: out,
  runId: 'harbour',
  status: 'completed',
  updatedAtMs: COMMITTED_AT,
  inputs: samplePayload(0).inputs,
  agents: samplePayload(0).agents,
  conversations,
  ...over,
});
const text = (): Promise<string> => readFile(join(out, 'run_state', 'harbour.json'), 'utf8');

test('at the start it has no slots; the last run is noted without a newline', async () => {
  await writeRunState(options(arrayStore(0).committed(DATASET, 0), { status: 'started' }));
  const state = await text();
  expect(state.endsWith('  "conversations": []\n}')).toBe(true);
  expect(Object.keys(JSON.parse(state) as object)).toEqual([
    'run_id',
    'status',
    'updated_at',
    'n_turns',
    'batch_size',
    'inputs',
    'conversations',
  ]);
  expect(await readFile(join(out, 'run_state', 'last_run_id.txt'), 'utf8')).toBe('harbour');
});

test('slots in rank order, dropped ones with their reason, D4 without turns', async () => {
  await writeRunState(options(arrayStore(7).committed(DATASET, 0)));
  const state = JSON.parse(await text()) as { conversations: Record<string, unknown>[] };
  expect(state).toMatchObject({
    run_id: 'harbour',
    status: 'completed',
    updated_at: '2025-01-31T12:34:56.789000Z',
    n_turns: 2,
    batch_size: 7,
    inputs: { run_id: 'harbour', target_language: 'en', project_root: '.' },
  });
  expect(state.conversations.map((slot) => slot['conversation_index'])).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(Object.keys(state.conversations[0] ?? {})).toEqual([
    'conversation_index',
    'conversation_id',
    'target_n_turns',
    'status',
    'drop_reason',
    'inputs',
    'turns',
    'raw_results',
  ]);
  expect(state.conversations[0]).toMatchObject({
    status: 'completed',
    drop_reason: '',
    turns: [],
    raw_results: [],
  });
  expect(state.conversations[6]).toMatchObject({
    status: 'dropped',
    drop_reason: 'dedup_exhausted',
    inputs: { conversation_status: 'dropped', drop_reason: 'dedup_exhausted' },
  });
  expect(await readdir(join(out, 'run_state'))).toEqual(['harbour.json', 'last_run_id.txt']);
});

test('it is indented as 0.1.0 indents it, and 0.1.0’s reader understands it', async () => {
  const personas = { ...samplePayload(0).personas, user: 'line\u2028one\nline two' };
  const store = arrayStore(2, (seq) => ({
    ...sampleCommit(seq),
    payload: samplePayload(seq - 1, { personas }),
  }));
  await writeRunState(options(store.committed(DATASET, 0)));
  const state = await text();
  const value = JSON.parse(state) as {
    inputs: object;
    conversations: { inputs: { user_persona: string } }[];
  };
  expect(value.conversations[0]?.inputs.user_persona).toBe('line\u2028one\nline two');
  const floatsAside = (json: string): string => json.replaceAll(/": (\d+)\.0,/g, '": $1,');
  expect(floatsAside(state)).toBe(JSON.stringify(value, null, 2));
  expect(await readRunState(runStatePath(out, 'harbour'))).toMatchObject({
    kind: 'batched',
    conversations: [{}, {}],
  });
});

test('a conversation that was dropped without a payload has a slot', async () => {
  const store = arrayStore(1, (seq) => ({
    ...sampleCommit(seq),
    status: 'dropped',
    reason: 'poisonous',
    payload: null,
  }));
  await writeRunState(options(store.committed(DATASET, 0)));
  expect(JSON.parse(await text())).toMatchObject({
    conversations: [{ status: 'dropped', drop_reason: 'poisonous', inputs: {} }],
  });
});

test('D4 the bytes per conversation do not grow with the run', async () => {
  const bytesFor = async (count: number): Promise<number> => {
    await writeRunState(options(arrayStore(count).committed(DATASET, 0)));
    return (await text()).length;
  };
  const [small, large] = [await bytesFor(50), await bytesFor(500)];
  expect(large / small).toBeLessThan(10.5);
});

test.each(['../../x', 'a/b', '', '..', '.hidden', 'a\0b'])(
  'G12 the run id %j names no file elsewhere',
  async (runId) => {
    await expect(
      writeRunState(options(arrayStore(0).committed(DATASET, 0), { runId })),
    ).rejects.toMatchObject({ code: 'usage' });
  },
);

test('a write that fails leaves the old state and no litter', async () => {
  await writeRunState(options(arrayStore(2).committed(DATASET, 0)));
  const before = await text();
  const failing = async function* (): AsyncGenerator<CommittedConversation> {
    yield sampleCommit(1);
    throw new Error('the store went away');
  };
  await expect(writeRunState(options(failing()))).rejects.toThrow('the store went away');
  expect(await text()).toBe(before);
  expect(await readdir(join(out, 'run_state'))).toEqual(['harbour.json', 'last_run_id.txt']);
});
