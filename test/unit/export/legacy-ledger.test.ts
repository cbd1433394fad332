import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { questionKey } from '../../../src/dialogue/question-key.ts';
import { readLedger } from '../../../src/export/legacy-ledger.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-ledger-'));
  path = join(folder, 'coverage_ledger.jsonl');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const line = (question: string, more: object = {}): string =>
  JSON.stringify({
    timestamp: 't',
    topic_id: ' p1 ',
    source_path: '/k/a.md',
    question,
    question_hash: 'abc',
    ...more,
  });

test('an entry has all fields and its line as it stood', async () => {
  const text = line('Où?', {
    question_mode: 'fresh',
    seed_topic: 'T',
    seed_question: 'S',
    seed_question_hash: 'h',
  });
  await writeFile(path, `${text}\n`);
  expect(await readLedger(path)).toEqual({
    badLines: [],
    entries: [
      {
        key: questionKey('Où?'),
        line: text,
        turn: 0,
        passageId: 'p1',
        source: '/k/a.md',
        question: 'Où?',
        questionHash: 'abc',
        questionMode: 'fresh',
        seedTopic: 'T',
        seedQuestion: 'S',
        seedQuestionHash: 'h',
      },
    ],
  });
});

test('C3 D7 the whole ledger is read, not its last 2000 lines, and once', async () => {
  await writeFile(path, Array.from({ length: 5000 }, (_, n) => `${line(`Question ${n}?`)}\n`).join(''));
  const { entries } = await readLedger(path);
  expect(entries).toHaveLength(5000);
  expect(entries[0]?.question).toBe('Question 0?');
});

test('A13 U+2028 and U+0085 inside a line do not end it', async () => {
  await writeFile(
    path,
    `${line('one\u2028line?')}\n${line('another\u0085one?')}\n\n${line('last, unfinished file')}`,
  );
  const { entries, badLines } = await readLedger(path);
  expect(entries.map(({ question }) => question)).toEqual([
    'one\u2028line?',
    'another\u0085one?',
    'last, unfinished file',
  ]);
  expect(badLines).toEqual([]);
});

test('the older name `source` is read, constants of Python too', async () => {
  await writeFile(path, `{"source": "b.md", "question": "B?", "score": NaN}\n`);
  const { entries } = await readLedger(path);
  expect(entries).toMatchObject([
    { source: 'b.md', passageId: '', questionHash: expect.stringMatching(/^[0-9a-f]{16}$/) },
  ]);
});

test('bad lines are named by number, the others count', async () => {
  await writeFile(path, `{"half": \n${line('Good?')}\n[1]\n${line('  ')}\n"text"\n`);
  const { entries, badLines } = await readLedger(path);
  expect(entries).toHaveLength(1);
  expect(badLines).toEqual([
    { number: 1, reason: 'not JSON' },
    { number: 3, reason: 'not an object' },
    { number: 4, reason: 'no question' },
    { number: 5, reason: 'not an object' },
  ]);
});

test('C2 a line of 0.1.0 names no language, so it counts for all of them', async () => {
  await writeFile(path, `${line('Q?', { language: 'fr' })}\n`);
  expect((await readLedger(path)).entries[0]).not.toHaveProperty('language');
});

test('no ledger is an empty one; one that cannot be read is an error', async () => {
  expect(await readLedger(path)).toEqual({ entries: [], badLines: [] });
  await expect(readLedger(folder)).rejects.toMatchObject({
    code: 'output',
    message: expect.stringContaining(folder),
  });
});
