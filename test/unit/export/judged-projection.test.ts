import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JudgePass } from '../../../src/dialogue/judge-pass.ts';
import { DEFAULT_COLUMNS } from '../../../src/dialogue/sharegpt-record.ts';
import { LINE_FILES } from '../../../src/export/dataset-rows.ts';
import { openProjection, type ProjectionOptions } from '../../../src/export/projection.ts';
import { exportRun } from '../../../src/export/run-export.ts';
import { epoch } from '../../../src/kernel/ids.ts';
import type { StoredVerdict } from '../../../src/ports/verdicts.ts';
import { OLD_SCORE, oldConversation, writeOldDataset } from '../../support/old-dataset.ts';
import {
  type ArrayStore,
  arrayStore,
  committed,
  DATASET,
  RUN,
  sampleAnswers,
  sampleCommit,
  samplePayload,
} from './sample-dataset.ts';

let root: string;
let out: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'dlgforge-judged-'));
  out = join(root, 'outputs');
});
afterEach(() => rm(root, { recursive: true, force: true }));

const LEASE = { name: 'dataset', epoch: epoch(1) };
const BY_TURN: JudgePass = {
  id: 'by-turn',
  granularity: 'turn',
  model: 'm',
  promptVersion: 'v',
  reasons: ['vague'],
};
const WHOLE: JudgePass = { ...BY_TURN, id: 'whole', granularity: 'conversation' };

const verdict = (conversationId: string, turn: number, score: number | null): StoredVerdict => ({
  conversationId,
  turn,
  round: 0,
  tries: 1,
  verdict:
    score === null
      ? null
      : { score, reasons: ['vague'], notes: `new ${score}`, question_ok: true, answer_ok: true },
  reason: score === null ? 'unusable' : null,
  raw: { model: 'm', object: 'o', choices: [`raw of ${score}`] },
  rehearsal: false,
});

async function judged(store: ArrayStore, pass: JudgePass, verdicts: readonly StoredVerdict[]): Promise<void> {
  await store.verdicts.begin(LEASE, DATASET, pass, null);
  for (const each of verdicts) await store.verdicts.record(LEASE, DATASET, pass.id, each);
  await store.verdicts.publish(LEASE, DATASET, pass.id, false);
}

const optionsFor = (store: ArrayStore, over: Partial<ProjectionOptions> = {}): ProjectionOptions => ({
  outputDir: out,
  projectRoot: root,
  datasetId: DATASET,
  store,
  columns: DEFAULT_COLUMNS,
  journalAnswers: sampleAnswers,
  ...over,
});

async function project(store: ArrayStore, over: Partial<ProjectionOptions> = {}): Promise<void> {
  const projection = await openProjection(optionsFor(store, over));
  try {
    await projection.catchUp();
  } finally {
    await projection.close();
  }
}

async function rebuild(store: ArrayStore): Promise<void> {
  const projection = await openProjection(optionsFor(store));
  await projection.rebuild();
  await projection.close();
}

async function contents(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(
    files.map(async (file) => [file.slice(folder.length + 1), await readFile(file, 'latin1')] as const),
  );
  return Object.fromEntries(texts.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

interface Row {
  readonly [field: string]: unknown;
}

const textOf = (name: string): Promise<string> => readFile(join(out, name), 'utf8');
/** What Python writes besides JSON is in these files on purpose. */
const parsed = (text: string): Row => JSON.parse(text.replaceAll('NaN', 'null')) as Row;
const rowsOf = async (name: string): Promise<Row[]> =>
  (await textOf(name)).split('\n').slice(0, -1).map(parsed);
const fileOf = async (id: string): Promise<Row> => parsed(await textOf(`conversations/${id}.json`));

interface Judged extends Row {
  readonly metadata: Row & { readonly conversation_id: string };
  readonly judge: {
    readonly per_turn: readonly {
      readonly turn_index: number;
      readonly score: number | null;
      readonly user_message: string;
    }[];
    readonly avg_score: number | null;
    readonly conversation: Row;
  };
}

const judgedRows = async (): Promise<Judged[]> =>
  (await rowsOf('conversations_sharegpt_judged.jsonl')) as Judged[];

const ID = 'harbour-en-0000';
const OTHER = 'harbour-en-0001';

describe('files under a pass', () => {
  test('B12 every artifact that carries scores shows the verdicts, and is otherwise what it was', async () => {
    const store = arrayStore(3);
    await project(store);
    const before = {
      turns: await rowsOf('turns.jsonl'),
      plain: await textOf('conversations_sharegpt.jsonl'),
    };
    await judged(store, BY_TURN, [verdict(ID, 1, 2), verdict(ID, 2, 4), verdict(OTHER, 2, 9.5)]);
    await project(store);

    const turns = await rowsOf('turns.jsonl');
    expect(turns.map((row) => row['judge_score'])).toEqual([2, 4, null, 9.5, null, null]);
    expect(turns[0]).toEqual({
      ...before.turns[0],
      judge_score: 2,
      judge_reasons: ['vague'],
      judge_notes: 'new 2',
    });
    const [synthetic] = (await rowsOf('synthetic_qa.jsonl')) as {
      qa_judge: Row;
      turns: { qa_judge: Row }[];
      raw_results: Row[];
    }[];
    expect(synthetic?.qa_judge['score']).toBe(4);
    expect(synthetic?.turns.map((turn) => turn.qa_judge['score'])).toEqual([2, 4]);
    expect(synthetic?.raw_results.map((entry) => [entry['qa_judge'], entry['judge_raw']])).toMatchObject([
      [{ score: 2 }, { choices: ['raw of 2'] }],
      [{ score: 4 }, { choices: ['raw of 4'] }],
    ]);
    expect((await fileOf(ID))['turns']).toMatchObject([
      { qa_judge: { score: 2 } },
      { qa_judge: { score: 4 } },
    ]);
    const rows = await judgedRows();
    expect(rows.map((row) => [row.metadata.conversation_id, row.judge.avg_score])).toEqual([
      [ID, 3],
      [OTHER, 9.5],
    ]);
    expect(await textOf('conversations_sharegpt.jsonl')).toBe(before.plain);
  });

  test('B13 the other granularity leaves nothing of the first, and neither does coming back', async () => {
    const store = arrayStore(2);
    const turnPass = [verdict(ID, 1, 2), verdict(ID, 2, 4), verdict(OTHER, 1, 5), verdict(OTHER, 2, 6)];
    await judged(store, BY_TURN, turnPass);
    await project(store);
    const first = await contents(out);
    await judged(store, WHOLE, [verdict(ID, 0, 7)]);
    await project(store);
    const all = Object.values(await contents(out)).join('\n');
    for (const score of [2, 4, 5, 6]) expect(all).not.toContain(`new ${score}`);
    const turns = await rowsOf('turns.jsonl');
    expect(
      turns.map((row) => [row['judge_granularity'], row['judge_score'], row['conversation_judge_score']]),
    ).toEqual([
      ['conversation', null, 7],
      ['conversation', null, 7],
      ['conversation', null, null],
      ['conversation', null, null],
    ]);
    const [row, ...others] = await judgedRows();
    expect(others).toEqual([]);
    expect(row?.judge).toMatchObject({ per_turn: [], avg_score: null, conversation: { score: 7 } });
    expect(await fileOf(ID)).toMatchObject({
      conversation_judge: { score: 7 },
      inputs: { judge_granularity: 'conversation', conversation_judge: { score: 7 } },
      turns: [{ qa_judge: {} }, { qa_judge: {} }],
    });
    expect((await fileOf(OTHER))['conversation_judge']).toEqual({});

    await judged(store, BY_TURN, []);
    await project(store);
    const { '.dlgforge-dataset.json': _, ...again } = await contents(out);
    const { '.dlgforge-dataset.json': __, ...expected } = first;
    expect(again).toEqual(expected);
  });

  test('verdicts that the run gave count in a pass of the same key, and in no other', async () => {
    const own = arrayStore(2, (seq) => committed(seq, samplePayload(seq - 1, { judgePass: BY_TURN.id })));
    await project(own);
    const before = await rowsOf('turns.jsonl');
    await judged(own, BY_TURN, [verdict(OTHER, 1, 1)]);
    await project(own);
    expect((await rowsOf('turns.jsonl')).map((row) => row['judge_score'])).toEqual([8, 8, 1, 8]);
    expect((await rowsOf('turns.jsonl'))[0]).toEqual(before[0]);
    await judged(own, WHOLE, []);
    await project(own);
    expect((await rowsOf('turns.jsonl')).map((row) => row['judge_score'])).toEqual([null, null, null, null]);
    expect(await judgedRows()).toEqual([]);
  });

  test('J2 E18 no verdict is null and in no average; neither is what is no score', async () => {
    const store = arrayStore(1);
    const odd = (turn: number, score: unknown): StoredVerdict => ({
      ...verdict(ID, turn, 1),
      verdict: { score: score as number, reasons: [], notes: '', question_ok: true, answer_ok: true },
    });
    await judged(store, BY_TURN, [verdict(ID, 1, null), verdict(ID, 2, 6)]);
    await project(store);
    expect((await rowsOf('turns.jsonl')).map((row) => row['judge_score'])).toEqual([null, 6]);
    expect((await judgedRows())[0]?.judge).toMatchObject({
      avg_score: 6,
      per_turn: [{ turn_index: 2, score: 6 }],
    });
    for (const score of [true, 99, -1, 'nine']) {
      await judged(store, BY_TURN, [odd(1, score), verdict(ID, 2, 6)]);
      await project(store);
      expect((await judgedRows())[0]?.judge.avg_score, String(score)).toBe(6);
    }
    await judged(store, BY_TURN, [odd(1, '8'), verdict(ID, 2, 6)]);
    await project(store);
    expect((await judgedRows())[0]?.judge.avg_score).toBe(7);
  });

  test('a later conversation shows its own verdict if it is of the pass, else none, and a rebuild gives the same bytes', async () => {
    const commit = (seq: number) =>
      seq === 3 ? committed(seq, samplePayload(2, { judgePass: BY_TURN.id })) : sampleCommit(seq);
    const store = arrayStore(1, commit);
    await judged(store, BY_TURN, [verdict(ID, 1, 2), verdict(ID, 2, 4)]);
    await project(store);
    store.count = 3;
    await project(store);
    expect((await rowsOf('turns.jsonl')).map((row) => row['judge_score'])).toEqual([2, 4, null, null, 8, 8]);
    const grown = await contents(out);
    await rebuild(store);
    expect(await contents(out)).toEqual(grown);
  });

  test('I6 the files of one run show the same verdicts', async () => {
    const store = arrayStore(2);
    await judged(store, BY_TURN, [verdict(ID, 1, 2)]);
    await project(store);
    const folder = join(root, 'run');
    await exportRun({ ...optionsFor(store), outputDir: folder, projectRoot: root, runId: RUN });
    for (const name of ['turns.jsonl', 'synthetic_qa.jsonl', 'conversations_sharegpt_judged.jsonl'])
      expect(await readFile(join(folder, name), 'utf8')).toBe(await textOf(name));
  });
});

class Killed extends Error {}

const OLD = [
  oldConversation('old-1', ['What turns the tide?', 'And when?']),
  oldConversation('old-2', ['How high does it stand?'], 'french'),
];

describe('files of 0.1.0 under a pass', () => {
  const byTurn = [verdict('old-1', 1, 9), verdict('old-1', 2, 8.5), verdict('old-2', 1, null)];

  test.each([false, true])(
    'B12 B13 by turn: every file takes the verdicts and keeps every other byte (offline: %s)',
    async (offline) => {
      await writeOldDataset(out, OLD, { offline });
      const before = await contents(out);
      const store = arrayStore(0);
      await judged(store, BY_TURN, byTurn);
      await project(store);
      const after = await contents(out);

      expect((await rowsOf('turns.jsonl')).map((row) => row['judge_score'])).toEqual([9, 8.5, null]);
      expect((await rowsOf('turns.jsonl')).map((row) => row['conversation_judge_score'])).toEqual([
        null,
        null,
        null,
      ]);
      expect(await fileOf('old-1')).toMatchObject({
        turns: [{ qa_judge: { score: 9 } }, { qa_judge: { score: 8.5 } }],
        conversation_judge: {},
        inputs: { conversation_judge: {}, judge_enabled: true },
        raw_results: [{ qa_judge: { score: 9 } }, { qa_judge: { score: 8.5 } }, { conversation_judge: {} }],
      });
      const rows = await judgedRows();
      expect(rows.map(({ judge, metadata }) => [metadata.conversation_id, judge.avg_score])).toEqual([
        ['old-1', 8.75],
        ['old-2', null],
      ]);
      expect(rows[0]?.judge.per_turn[0]?.user_message).toBe('What turns the tide?');
      const everything = Object.values(after).join('\n');
      expect(everything).not.toContain('an old word');
      expect(everything).not.toContain(`"score": ${OLD_SCORE}`);
      for (const name of [
        'conversations_index.jsonl',
        'conversations_sharegpt.jsonl',
        'coverage_ledger.jsonl',
      ])
        expect(after[name]).toBe(before[name]);
      // What is theirs, or no JSON at all, stands as it stood.
      const theirs = /NaN, 1\.0, "half \\ud83d", "a\u00e2\u0080\u00a8b"/g;
      for (const name of Object.keys(before).filter((path) => !path.includes('_judged')))
        expect(after[name]?.match(theirs)?.length, name).toBe(before[name]?.match(theirs)?.length);
      expect(after['conversations/old-1.json']).toContain('\n      "qa_judge": {\n        "score": 9,\n');
    },
  );

  test('B13 by conversation, from the same folder', async () => {
    await writeOldDataset(out, OLD);
    const store = arrayStore(0);
    await judged(store, BY_TURN, byTurn);
    await project(store);
    await judged(store, WHOLE, [verdict('old-1', 0, 5), verdict('old-2', 0, 6)]);
    await project(store);
    const everything = Object.values(await contents(out)).join('\n');
    for (const word of ['new 9', 'new 8.5', 'raw of 9', 'an old word'])
      expect(everything).not.toContain(word);
    expect(
      (await rowsOf('turns.jsonl')).map((row) => [row['judge_score'], row['conversation_judge_score']]),
    ).toEqual([
      [null, 5],
      [null, 5],
      [null, 6],
    ]);
    expect(await fileOf('old-2')).toMatchObject({
      conversation_judge: { score: 6 },
      turns: [{ qa_judge: {} }],
      inputs: { judge_granularity: 'conversation' },
    });
    expect((await judgedRows()).map(({ judge }) => judge)).toMatchObject([
      { per_turn: [], conversation: { score: 5 } },
      { per_turn: [], conversation: { score: 6 } },
    ]);
  });

  test('B12 a folder with nothing but conversation files gets lines of what was judged, and keeps them', async () => {
    await writeOldDataset(out, OLD);
    for (const name of LINE_FILES) await rm(join(out, name));
    const store = arrayStore(0);
    await judged(store, BY_TURN, [verdict('old-1', 1, 9), verdict('old-1', 2, 7)]);
    await project(store);
    expect(await rowsOf('turns.jsonl')).toMatchObject([
      {
        conversation_id: 'old-1',
        timestamp: '2025-03-01T11:30:00.000000+00:00',
        turn_index: 1,
        judge_score: 9,
      },
      { conversation_id: 'old-1', turn_index: 2, judge_score: 7, user_message: 'And when?' },
    ]);
    expect(await rowsOf('synthetic_qa.jsonl')).toMatchObject([
      { conversation_id: 'old-1', qa_judge: { score: 7 }, inputs: { target_language: 'english' } },
    ]);
    expect((await judgedRows()).map(({ judge }) => judge.avg_score)).toEqual([8]);
    const before = await contents(out);
    await rebuild(store);
    expect(await contents(out)).toEqual(before);
    await judged(store, WHOLE, [verdict('old-1', 0, 5)]);
    await project(store);
    expect(
      (await rowsOf('turns.jsonl')).map((row) => [row['judge_score'], row['conversation_judge_score']]),
    ).toEqual([
      [null, 5],
      [null, 5],
    ]);
    expect(await rowsOf('synthetic_qa.jsonl')).toMatchObject([
      { qa_judge: {}, conversation_judge: { score: 5 } },
    ]);
  });

  test('what the rehearsal backend has judged is marked, until another judge has', async () => {
    await writeOldDataset(out, OLD, { offline: true });
    const store = arrayStore(0);
    await judged(store, BY_TURN, [{ ...verdict('old-1', 1, 9), rehearsal: true }]);
    await project(store);
    expect((await judgedRows()).map(({ metadata }) => metadata)).toMatchObject([{ rehearsal: true }]);
    expect(await fileOf('old-1')).toMatchObject({ inputs: { rehearsal: true } });
    expect((await fileOf('old-2'))['inputs']).not.toHaveProperty('rehearsal');
    await judged(store, WHOLE, [verdict('old-1', 0, 5)]);
    await project(store);
    expect((await judgedRows()).map(({ metadata }) => metadata['rehearsal'])).toEqual([undefined]);
    expect(await fileOf('old-1')).toMatchObject({ inputs: { rehearsal: false } });
  });

  test('what stood in the judged file is never lost, and a conversation that has only its file gets a line', async () => {
    await writeOldDataset(out, OLD);
    for (const name of ['conversations_sharegpt.jsonl', 'turns.jsonl']) await writeFile(join(out, name), '');
    const [first = ''] = (await textOf('conversations_sharegpt_judged.jsonl')).split('\n');
    await writeFile(join(out, 'conversations_sharegpt_judged.jsonl'), `${first}\n{"torn": \n`);
    const store = arrayStore(0);
    await judged(store, BY_TURN, [verdict('old-2', 1, 9)]);
    await project(store);
    const [kept, torn, made, ...rest] = (await textOf('conversations_sharegpt_judged.jsonl')).split('\n');
    expect(rest).toEqual(['']);
    expect(torn).toBe('{"torn": ');
    expect(parsed(kept ?? '')['judge']).toEqual({ per_turn: [], avg_score: null, conversation: {} });
    expect(parsed(made ?? '')).toMatchObject({
      messages: [{ content: 'How high does it stand?' }, {}],
      metadata: {
        conversation_id: 'old-2',
        timestamp: '2025-03-01T11:30:00.000000+00:00',
        language: 'french',
      },
      judge: { avg_score: 9 },
    });
    const before = await contents(out);
    await rebuild(store);
    expect(await contents(out)).toEqual(before);
  });

  test('A10 a kill at any step of the change leaves files that the next start completes, byte for byte', async () => {
    const template = join(root, 'template');
    const make = async (): Promise<ArrayStore> => {
      await rm(out, { recursive: true, force: true });
      await cp(template, out, { recursive: true });
      return await grownStore();
    };
    const grownStore = async (): Promise<ArrayStore> => {
      const store = arrayStore(2);
      await judged(store, BY_TURN, [...byTurn, verdict(ID, 1, 1)]);
      return store;
    };
    await writeOldDataset(out, OLD);
    await project(arrayStore(2));
    await cp(out, template, { recursive: true });
    await project(await grownStore());
    const expected = await contents(out);
    let step = 0;
    for (let finished = false; !finished; step += 1) {
      const store = await make();
      let steps = 0;
      const onStep = (name: string): void => {
        if (steps === step) throw new Killed(name);
        steps += 1;
      };
      finished = await project(store, { onStep }).then(
        () => true,
        (error: unknown) => {
          expect(error).toBeInstanceOf(Killed);
          return false;
        },
      );
      await project(store);
      expect(await contents(out), `killed at step ${step}`).toEqual(expected);
    }
    expect(step).toBeGreaterThan(20);
  });
});
