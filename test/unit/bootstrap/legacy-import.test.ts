import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { withEarlier } from '../../../src/actors/earlier-counts.ts';
import { journalImport, type LegacyImport, readLegacyImport } from '../../../src/bootstrap/legacy-import.ts';
import { languageTags } from '../../../src/dialogue/settings.ts';
import { questionKey } from '../../../src/dialogue/question-key.ts';
import { legacyRunOf, runStateIds } from '../../../src/export/legacy-run.ts';
import { datasetId, persistenceId, runId } from '../../../src/kernel/ids.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import {
  batchedState,
  ledgerLine,
  type OldOutputs,
  oldTurn,
  singleState,
  UPDATED_AT,
  writeOldOutputs,
} from '../../support/legacy-files.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-old-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function imported(
  outputs: OldOutputs,
  id = 'R',
  languages: readonly string[] = ['english'],
): Promise<LegacyImport | null> {
  await writeOldOutputs(folder, outputs);
  const run = legacyRunOf(await runStateIds(folder), id, languages);
  return await readLegacyImport({ outputDir: folder, run, languages: languageTags(languages) });
}

const done = (id: string) => ({ id, target: 1, turns: [oldTurn(1, `${id}?`)] });
const begun = (id: string) => ({ id, target: 2, turns: [oldTurn(1, `${id}?`)] });
const places = (result: LegacyImport | null): (readonly [string, number])[] =>
  (result?.conversations ?? []).map(({ conversationId, index }) => [conversationId, index]);

test('nothing of the run in the folder is no import', async () => {
  expect(
    await imported({
      states: { other: singleState('english', done('other')) },
      written: [['Rx-0000', 'english', ['a']]],
    }),
  ).toBeNull();
});

test('written conversations come first, the others follow in their places', async () => {
  const result = await imported({
    states: {
      R: batchedState('R', 'english', [done('R-0000'), done('R-0001')]),
      'R-0001': batchedState('R-0001', 'english', [done('R-0001-0000'), begun('R-0001-0001')]),
    },
    written: [
      ['R-0000', 'english', ['a']],
      ['R-0001', 'english', ['b']],
    ],
  });
  expect(result?.earlier).toEqual([
    { languageIndex: 0, committed: 2, dropped: 0, nextIndex: 2, turns: 2, dropReasons: {} },
  ]);
  expect(places(result)).toEqual([
    ['R-0001-0000', 2],
    ['R-0001-0001', 3],
  ]);
});

test('A2: a hole in what was written is filled without using an id or an index twice', async () => {
  const result = await imported({
    states: {
      R: singleState('english', done('R')),
      'R-0001': singleState('english', done('R-0001')),
      'R-0002': singleState('english', done('R-0002')),
    },
    written: [
      ['R', 'english', ['a']],
      ['R-0002', 'english', ['c']],
    ],
  });
  expect(result?.earlier[0]).toMatchObject({ committed: 2, nextIndex: 2 });
  expect(places(result)).toEqual([['R-0001', 2]]);
});

test('ids that another run of the folder has are not counted, but not used again either', async () => {
  const result = await imported({
    states: {
      R: singleState('english', begun('R')),
      'R-2024': batchedState('R-2024', 'english', [done('R-2024-0000')]),
    },
    written: [
      ['R-2024-0000', 'english', ['a']],
      ['R-2024', 'english', ['b']],
    ],
  });
  expect(result?.earlier[0]).toMatchObject({ committed: 0 });
  expect(places(result)).toEqual([['R', 2024]]);
});

test('B9: dropped conversations are not finished and do not count', async () => {
  const result = await imported({
    states: {
      R: batchedState('R', 'english', [
        done('R-0000'),
        { ...begun('R-0001'), status: 'dropped' },
        { id: 'R-0002', target: 3, turns: [], status: 'dropped' },
      ]),
    },
    written: [
      ['R-0000', 'english', ['a']],
      ['R-0001', 'english', ['b']],
    ],
  });
  expect(result?.earlier[0]).toMatchObject({ committed: 1, dropped: 2, dropReasons: { dedup_exhausted: 2 } });
  expect(result?.conversations).toEqual([]);
  expect(result?.notices).toEqual([
    expect.stringMatching(/english: 1 conversations in the files were dropped/),
  ]);
});

test('B1: what was written twice counts once; what was written without a state counts too', async () => {
  const result = await imported({
    states: { R: batchedState('R', 'english', [done('R-0000'), begun('R-0001')]) },
    written: [
      ['R-0000', 'english', ['a']],
      ['R-0000', 'english', ['a']],
      ['R-0001-0000', 'english', ['b', 'c']],
      ['R-0007', 'english', ['d']],
    ],
  });
  expect(result?.earlier[0]).toMatchObject({ committed: 3, turns: 1 + 2 + 1 });
  // Further ids are above R-0007.
  expect(places(result)).toEqual([['R-0001', 7]]);
});

test('B8: questions of unfinished turns do not count yet, unless others asked them too', async () => {
  const late = UPDATED_AT.replace('12:00', '12:30');
  const result = await imported({
    states: { R: batchedState('R', 'english', [begun('R-0000'), begun('R-0001')]) },
    ledger: [
      ledgerLine('R-0001?'),
      ledgerLine('old?'),
      ledgerLine('R-0000?'),
      ledgerLine('r-0001'),
      ledgerLine('lost?', late),
    ],
    lastRunId: 'R',
  });
  expect(result?.unfinishedQuestions).toEqual(new Set([questionKey('R-0000?'), questionKey('lost?')]));
  expect(
    result?.conversations.map(({ events }) =>
      events.some((event) => event.type === 'QuestionProposed' && event.inLedger === true),
    ),
  ).toEqual([true, true]);
});

test.each([
  [['R'], 'R', ['english'], 'R'],
  [['R', 'R-0001'], 'R-0001', ['english'], 'R'],
  [['R', 'R-0002'], 'R-0002', ['english'], 'R-0002'],
  [['R-0001'], 'R-0001', ['english'], 'R-0001'],
  [['M-fr'], 'M-fr', ['en', 'fr'], 'M'],
  [['M-fr'], 'M-fr', ['fr'], 'M-fr'],
  [['M-fr', 'M-fr-0001'], 'M-fr-0001', ['en', 'fr'], 'M'],
  [['M-fr-en', 'M-fr-fr'], 'M-fr', ['en', 'fr'], 'M-fr'],
])('%j: resuming %s with %j means the run %s', (states, id, languages, base) => {
  expect(legacyRunOf(new Set(states), id, languages).baseId).toBe(base);
});

test('B11: a state says which language it is of; the name of its file may not', async () => {
  const result = await imported(
    { states: { 'M-english': singleState('ENGLISH', begun('M-english')) } },
    'M',
    ['english', 'ENGLISH', 'french'],
  );
  expect(result?.conversations).toMatchObject([{ languageIndex: 1, conversationId: 'M-english' }]);
});

test('a state in a language that is not configured is an error that names both', async () => {
  await expect(imported({ states: { R: singleState('german', begun('R')) } })).rejects.toThrow(
    /"german".*"english"/,
  );
});

test('a take-over that is cut short is completed, and refuses files that have changed since', async () => {
  const outputs = {
    states: { R: batchedState('R', 'english', [begun('R-0000'), begun('R-0001'), begun('R-0002')]) },
  };
  const result = (await imported(outputs)) as LegacyImport;
  const store = new MemoryStore();
  await store.openDataset(datasetId('D'), folder);
  await journalImport(store.journal, { ...result, conversations: result.conversations.slice(0, 2) });
  await journalImport(store.journal, result);
  await journalImport(store.journal, result);
  for (const { index, events } of result.conversations) {
    const stored = await store.journal.read(persistenceId(`run/R/0/${index}`));
    expect(stored.map(({ event }) => event)).toEqual(events);
  }
  const changed = {
    ...outputs.states,
    R: batchedState('R', 'english', [begun('other'), begun('R-0001'), begun('R-0002')]),
  };
  const other = (await imported({ states: changed })) as LegacyImport;
  await expect(journalImport(store.journal, other)).rejects.toThrow(/cut short/);
});

test('what came before counts like what the store holds', async () => {
  const store = new MemoryStore();
  expect(
    withEarlier(await store.runCounts(runId('R')), [
      {
        languageIndex: 1,
        committed: 3,
        dropped: 1,
        nextIndex: 9,
        turns: 8,
        dropReasons: { dedup_exhausted: 1 },
      },
    ]),
  ).toEqual([
    {
      languageIndex: 1,
      committed: 3,
      dropped: 1,
      consecutiveDrops: 0,
      nextIndex: 9,
      turns: 8,
      dropReasons: { dedup_exhausted: 1 },
    },
  ]);
  const stored = {
    languageIndex: 1,
    committed: 2,
    dropped: 1,
    consecutiveDrops: 1,
    nextIndex: 0,
    turns: 5,
    dropReasons: { crashed: 1 },
  };
  expect(
    withEarlier(
      [stored],
      [
        {
          languageIndex: 1,
          committed: 3,
          dropped: 1,
          nextIndex: 9,
          turns: 8,
          dropReasons: { dedup_exhausted: 1 },
        },
      ],
    ),
  ).toEqual([
    {
      languageIndex: 1,
      committed: 5,
      dropped: 2,
      consecutiveDrops: 1,
      nextIndex: 12,
      turns: 13,
      dropReasons: { dedup_exhausted: 1, crashed: 1 },
    },
  ]);
});
