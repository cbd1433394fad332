import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DEFAULT_COLUMNS } from '../../../src/dialogue/sharegpt-record.ts';
import { CONVERSATIONS_FOLDER, LEDGER_FILE, LINE_FILES } from '../../../src/export/dataset-rows.ts';
import { MARKER_FILE, readMarker } from '../../../src/export/marker.ts';
import { openProjection, type ProjectionOptions } from '../../../src/export/projection.ts';
import { type Logger } from '../../../src/kernel/logger.ts';
import {
  type ArrayStore,
  arrayStore,
  committed,
  DATASET,
  sampleAnswers,
  samplePayload,
} from './sample-dataset.ts';

let root: string;
let out: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'dlgforge-projection-'));
  out = join(root, 'outputs');
});
afterEach(() => rm(root, { recursive: true, force: true }));

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

async function rebuild(store: ArrayStore, over: Partial<ProjectionOptions> = {}): Promise<void> {
  const projection = await openProjection(optionsFor(store, over));
  try {
    await projection.rebuild();
  } finally {
    await projection.close();
  }
}

/** Every file of a folder and its text. */
async function contents(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(
    files.map(async (file) => [file.slice(folder.length + 1), await readFile(file, 'utf8')]),
  );
  return Object.fromEntries(
    texts.toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1)) as [string, string][],
  );
}

const lines = async (name: string): Promise<string[]> =>
  (await readFile(join(out, name), 'utf8')).split('\n').slice(0, -1);

async function undisturbed(count: number): Promise<Record<string, string>> {
  const folder = join(root, 'undisturbed', 'outputs');
  await project(arrayStore(count), { outputDir: folder, projectRoot: join(root, 'undisturbed') });
  return await contents(folder);
}

class Killed extends Error {}

/** Ends the work at the n-th step as a kill would: nothing after it happens. */
const killAt = (step: number): { onStep: (name: string) => void; steps: string[] } => {
  const steps: string[] = [];
  return {
    steps,
    onStep: (name) => {
      if (steps.length === step) throw new Killed(name);
      steps.push(name);
    },
  };
};

describe('projection', () => {
  test('a new folder has its empty files and follows the commits', async () => {
    const store = arrayStore(0);
    const projection = await openProjection(optionsFor(store));
    expect(await readdir(out)).toEqual(
      expect.arrayContaining([...LINE_FILES, CONVERSATIONS_FOLDER, 'run_state', MARKER_FILE]),
    );
    store.count = 3;
    await projection.catchUp();
    store.count = 8;
    await Promise.all([projection.catchUp(), projection.catchUp(), projection.catchUp()]);
    expect(projection.commitSeq).toBe(8);
    await projection.close();
    expect(await contents(out)).toEqual(await undisturbed(8));
    expect(await lines('conversations_index.jsonl')).toHaveLength(7);
  });

  test('a judged line is the ShareGPT line with the verdicts behind it', async () => {
    const columns = { ...DEFAULT_COLUMNS, judge: 'the "verdicts"' };
    await project(arrayStore(4), { columns });
    const plain = await lines('conversations_sharegpt.jsonl');
    const judged = await lines('conversations_sharegpt_judged.jsonl');
    expect(judged).toHaveLength(plain.length);
    for (const [at, line] of judged.entries()) {
      expect(line.startsWith(`${plain[at]?.slice(0, -1)}, "the \\"verdicts\\"": {"per_turn": [`)).toBe(true);
      expect(Object.keys(JSON.parse(line) as object).at(-1)).toBe(columns.judge);
    }
    expect(judged.length).toBeGreaterThan(0);
  });

  test('A15 a kill before any write is repaired at the next start, exactly once', async () => {
    const expected = await undisturbed(9);
    let step = 0;
    for (let finished = false; !finished; step += 1) {
      await rm(out, { recursive: true, force: true });
      await project(arrayStore(4));
      const kill = killAt(step);
      finished = await project(arrayStore(9), { onStep: kill.onStep }).then(
        () => true,
        (error: unknown) => {
          expect(error).toBeInstanceOf(Killed);
          return false;
        },
      );
      await project(arrayStore(9));
      expect(await contents(out), `killed at step ${step}: ${kill.steps.at(-1)}`).toEqual(expected);
    }
    expect(step).toBeGreaterThan(10);
  });

  test('A15 a torn line is cut off and written again', async () => {
    const expected = await undisturbed(6);
    await project(arrayStore(4));
    for (const name of LINE_FILES) await appendFile(join(out, name), '{"conversation_id": "harb');
    await project(arrayStore(6));
    expect(await contents(out)).toEqual(expected);
  });

  test('A15 a torn line is cut off also when nothing follows it', async () => {
    const expected = await undisturbed(4);
    await project(arrayStore(4));
    for (const name of LINE_FILES)
      await appendFile(join(out, name), `{"conversation_id": "${'h'.repeat(50_000)}`);
    await project(arrayStore(4));
    expect(await contents(out)).toEqual(expected);
  });

  test('a rebuild with other columns that was killed is done at the next start', async () => {
    const columns = { ...DEFAULT_COLUMNS, messages: 'the_conversation_as_a_list_of_messages', judge: 'j' };
    const folder = join(root, 'renamed', 'outputs');
    await project(arrayStore(5), { outputDir: folder, projectRoot: join(root, 'renamed'), columns });
    const expected = await contents(folder);
    let step = 1; // Before step 0 nothing has been announced, and the old files are whole.
    for (let finished = false; !finished; step += 1) {
      await rm(out, { recursive: true, force: true });
      await project(arrayStore(5));
      const projection = await openProjection(
        optionsFor(arrayStore(5), { columns, onStep: killAt(step).onStep }),
      );
      finished = await projection.rebuild().then(
        () => true,
        () => false,
      );
      await projection.close();
      await project(arrayStore(5), { columns });
      expect(await contents(out), `killed at step ${step}`).toEqual(expected);
    }
    expect(step).toBeGreaterThan(15);
  });

  test('a rebuild that failed is done by the next catch-up of the same process', async () => {
    const columns = { ...DEFAULT_COLUMNS, messages: 'the_conversation_as_a_list_of_messages' };
    await project(arrayStore(5), { columns });
    let failAt = 'replace turns.jsonl';
    const onStep = (step: string): void => {
      if (step === failAt) throw new Killed(step);
    };
    const projection = await openProjection(optionsFor(arrayStore(5), { onStep }));
    await expect(projection.rebuild()).rejects.toThrow(Killed);
    failAt = '';
    await projection.catchUp();
    await projection.close();
    expect(await contents(out)).toEqual(await undisturbed(5));
  });

  test('a kill during a repair starts it again', async () => {
    const expected = await undisturbed(9);
    await project(arrayStore(9));
    let step = 0;
    for (let finished = false; !finished; step += 1) {
      await rm(join(out, 'turns.jsonl'));
      const kill = killAt(step);
      finished = await openProjection(optionsFor(arrayStore(9), { onStep: kill.onStep })).then(
        async (projection) => {
          await projection.close();
          return true;
        },
        () => false,
      );
      await project(arrayStore(9));
      const found = await contents(out);
      for (const [name, text] of Object.entries(expected))
        expect(found[name], `${name}, step ${step}`).toBe(text);
    }
    expect(Object.keys(await contents(out))).toEqual(Object.keys(expected));
  });

  test('I6 everything can be deleted and rebuilt; rebuilding twice gives the same bytes', async () => {
    const expected = await undisturbed(9);
    await project(arrayStore(9));
    await rebuild(arrayStore(9));
    expect(await contents(out)).toEqual(expected);
    await rm(out, { recursive: true });
    await rebuild(arrayStore(9));
    expect(await contents(out)).toEqual(expected);
  });

  test('I6 a deleted file, marker or conversations folder is noticed and made again', async () => {
    const expected = await undisturbed(9);
    await project(arrayStore(9));
    for (const name of [...LINE_FILES, MARKER_FILE, CONVERSATIONS_FOLDER]) {
      await rm(join(out, name), { recursive: true });
      await project(arrayStore(9));
      expect(await contents(out), `without ${name}`).toEqual(expected);
    }
  });

  test('B3 D3 running over finished commits again adds nothing', async () => {
    await project(arrayStore(5));
    const first = await contents(out);
    await project(arrayStore(5));
    expect(await contents(out)).toEqual(first);
    const ids = (await lines('synthetic_qa.jsonl')).map(
      (line) => (JSON.parse(line) as { conversation_id: string }).conversation_id,
    );
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('B9 a dropped conversation is in no record file', async () => {
    await project(arrayStore(7));
    expect(JSON.stringify(await contents(out))).not.toContain('harbour-en-0006');
    expect((await readMarker(out))?.commitSeq).toBe(7);
  });

  test('A1 an output folder outside the project works; the index is relative to it', async () => {
    await project(arrayStore(1), { projectRoot: join(root, 'elsewhere') });
    const [row] = await lines('conversations_index.jsonl');
    expect(JSON.parse(row ?? '')).toMatchObject({ conversation_file: 'conversations/harbour-en-0000.json' });
    await rebuild(arrayStore(1));
    const [inside] = await lines('conversations_index.jsonl');
    expect(JSON.parse(inside ?? '')).toMatchObject({
      conversation_file: 'outputs/conversations/harbour-en-0000.json',
    });
  });

  test('A2 a failed write is an error that says that nothing is lost, and the next try completes the files', async () => {
    const store = arrayStore(0);
    const projection = await openProjection(optionsFor(store));
    await rm(join(out, CONVERSATIONS_FOLDER), { recursive: true });
    await writeFile(join(out, CONVERSATIONS_FOLDER), 'in the way');
    store.count = 5;
    await expect(projection.catchUp()).rejects.toMatchObject({
      code: 'output',
      message: expect.stringMatching(/harbour-en-0000\.json.*Nothing is lost.*dlgforge export/s),
    });
    expect(projection.commitSeq).toBe(0);
    await rm(join(out, CONVERSATIONS_FOLDER));
    await mkdir(join(out, CONVERSATIONS_FOLDER));
    await projection.catchUp();
    await projection.close();
    expect(await contents(out)).toEqual(await undisturbed(5));
  });

  test('lines of 0.1.0 stay in front, also after a rebuild and in a deleted ledger', async () => {
    await mkdir(out);
    const old = '{"timestamp": "t", "topic_id": "x", "question": "Old\u2028one?"}';
    await writeFile(join(out, LEDGER_FILE), old); // 0.1.0 was killed before the end of its line
    await writeFile(join(out, 'turns.jsonl'), '{"conversation_id": "old"}\n');
    const store = arrayStore(3);
    store.adopted.push(old);
    await project(store);
    const ledger = await readFile(join(out, LEDGER_FILE), 'utf8');
    expect(ledger.startsWith(`${old}\n{"timestamp": "2025-`)).toBe(true);
    expect((await lines('turns.jsonl'))[0]).toBe('{"conversation_id": "old"}');
    const before = await contents(out);
    await rebuild(store);
    expect(await contents(out)).toEqual(before);
    await rm(join(out, LEDGER_FILE));
    await project(store);
    expect(await contents(out)).toEqual(before);
    await rm(join(out, MARKER_FILE));
    await rm(join(out, LEDGER_FILE));
    await project(store);
    expect(await contents(out)).toEqual(before);
  });

  test('lines of 0.1.0 that were deleted from a file are reported', async () => {
    await mkdir(out);
    await writeFile(join(out, 'turns.jsonl'), '{"conversation_id": "old"}\n');
    await project(arrayStore(2));
    await rm(join(out, 'turns.jsonl'));
    const warnings: string[] = [];
    const logger: Logger = { log: (_level, _category, message) => warnings.push(message) };
    await project(arrayStore(2), { logger });
    expect(warnings.join('\n')).toContain(
      'turns.jsonl had 27 bytes from before dlgforge managed this folder',
    );
    expect(await lines('turns.jsonl')).toHaveLength(4);
  });

  test('a corrupt marker is an error, never a new folder', async () => {
    await project(arrayStore(2));
    for (const text of ['', '{"format": 1', '{"format": 2, "dataset_id": "x"}']) {
      await writeFile(join(out, MARKER_FILE), text);
      await expect(project(arrayStore(2))).rejects.toMatchObject({
        code: 'output',
        message: expect.stringContaining(MARKER_FILE),
      });
    }
  });

  test('files of another dataset, or ahead of the store, are left alone', async () => {
    await project(arrayStore(5));
    const before = await contents(out);
    await expect(project(arrayStore(3))).rejects.toMatchObject({
      code: 'output',
      message: expect.stringContaining('more than the store knows'),
    });
    const other = { datasetId: 'e'.repeat(32) as typeof DATASET };
    await expect(project(arrayStore(5), other)).rejects.toMatchObject({ code: 'output' });
    expect(await contents(out)).toEqual(before);
  });

  test('a moved folder goes on where it was', async () => {
    await project(arrayStore(3));
    const moved = join(root, 'moved', 'outputs');
    await cp(out, moved, { recursive: true });
    await project(arrayStore(6), { outputDir: moved, projectRoot: join(root, 'moved') });
    expect(await contents(moved)).toEqual(await undisturbed(6));
  });

  test('J5 two writers in one folder: the one that was overtaken stops and writes nothing', async () => {
    const store = arrayStore(2);
    const slow = await openProjection(optionsFor(store));
    store.count = 5;
    await project(store);
    const before = await contents(out);
    await expect(slow.catchUp()).rejects.toMatchObject({
      code: 'output',
      message: expect.stringContaining('written by another process'),
    });
    await slow.close();
    expect(await contents(out)).toEqual(before);
  });

  test('a full disk is named, and what was half written is repaired', async () => {
    const store = arrayStore(0);
    await project(store);
    await rm(join(out, 'turns.jsonl'));
    await symlink('/dev/full', join(out, 'turns.jsonl'));
    const projection = await openProjection(optionsFor(store));
    store.count = 3;
    const refused = {
      code: 'output',
      message: expect.stringMatching(/turns\.jsonl: the disk is full.*Nothing is lost/s),
    };
    await expect(projection.catchUp()).rejects.toMatchObject(refused);
    await expect(projection.catchUp()).rejects.toMatchObject(refused);
    await projection.close();
    await rm(join(out, 'turns.jsonl'));
    await project(store);
    expect(await contents(out)).toEqual(await undisturbed(3));
  });

  test('B11 conversations of languages that look alike have rows and files of their own', async () => {
    const names = ['English', 'english', '英語'];
    const store = arrayStore(3, (seq) => {
      const language = names[seq - 1] ?? '';
      return { ...committed(seq, samplePayload(0, { language, conversationId: `r-${seq}` })), language };
    });
    await project(store);
    expect((await readdir(join(out, CONVERSATIONS_FOLDER))).toSorted()).toEqual([
      'r-1.json',
      'r-2.json',
      'r-3.json',
    ]);
    const rows = (await lines('conversations_index.jsonl')).map(
      (line) => JSON.parse(line) as { language: string },
    );
    expect(rows.map(({ language }) => language)).toEqual(names);
  });

  test('G12 a conversation id that leads out of the folder is refused', async () => {
    const store = arrayStore(1, (seq) =>
      committed(seq, samplePayload(0, { conversationId: '../../escape' })),
    );
    await expect(project(store)).rejects.toMatchObject({ code: 'output' });
    expect(await readdir(root)).toEqual(['outputs']);
  });
});
