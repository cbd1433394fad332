/** What takes a process of its own, or many conversations. */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { PayloadTurn } from '../../../src/dialogue/conversation-record.ts';
import { DEFAULT_COLUMNS } from '../../../src/dialogue/sharegpt-record.ts';
import { openProjection, type ProjectionOptions } from '../../../src/export/projection.ts';
import { runId } from '../../../src/kernel/ids.ts';
import { exportRun } from '../../../src/export/run-export.ts';
import {
  type ArrayStore,
  arrayStore,
  committed,
  DATASET,
  RUN,
  sampleAnswers,
  sampleCommit,
  samplePayload,
  sampleTurn,
} from './sample-dataset.ts';

let out: string;
beforeEach(async () => {
  out = await mkdtemp(join(tmpdir(), 'dlgforge-limits-'));
});
afterEach(() => rm(out, { recursive: true, force: true }));

const optionsFor = (store: ArrayStore, over: Partial<ProjectionOptions> = {}): ProjectionOptions => ({
  outputDir: out,
  projectRoot: out,
  datasetId: DATASET,
  store,
  columns: DEFAULT_COLUMNS,
  journalAnswers: sampleAnswers,
  ...over,
});

async function contents(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(
    await Promise.all(
      files.toSorted().map(async (file) => [file.slice(folder.length), await readFile(file, 'utf8')]),
    ),
  ) as Record<string, string>;
}

async function project(folder: string, count: number): Promise<void> {
  const projection = await openProjection(
    optionsFor(arrayStore(count), { outputDir: folder, projectRoot: folder }),
  );
  await projection.catchUp();
  await projection.close();
}

test('A15 B8 a process killed with SIGKILL while it writes leaves what the next one completes, byte for byte', async () => {
  const child = new URL('./projection-child.ts', import.meta.url).pathname;
  await project(join(out, 'expected'), 9);
  const expected = await contents(join(out, 'expected'));
  await project(join(out, 'before'), 4);
  const attempt = async (mode: string, kill: number): Promise<void> => {
    const folder = join(out, `${mode}-${kill}`);
    await cp(join(out, 'before'), folder, { recursive: true });
    const killed = promisify(execFile)(process.execPath, [child, folder, '9', String(kill), mode]);
    await expect(killed).rejects.toMatchObject({ signal: 'SIGKILL' });
    await project(folder, 9);
    const found = await contents(folder);
    for (const [name, text] of Object.entries(expected))
      expect(found[name], `${mode} ${kill} ${name}`).toBe(text);
  };
  for (const kill of [4, 9]) await attempt('catch-up', kill);
  for (const kill of [14, 19]) await attempt('rebuild', kill);
});

test('I9 many long conversations need the memory of a batch', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const longTurn = (seq: number): PayloadTurn =>
    sampleTurn(1, { answer: { assistant_message: `${seq} `.repeat(4000) }, toolRounds: [] });
  const store = arrayStore(500, (seq) => committed(seq, samplePayload(seq, { turns: [longTurn(seq)] })));
  const live: number[] = [];
  let batches = 0;
  const onStep = (step: string): void => {
    if (step !== 'sync' || (batches += 1) % 6 !== 0) return;
    collect();
    live.push(process.memoryUsage().heapUsed);
  };
  const projection = await openProjection(optionsFor(store, { onStep }));
  await projection.catchUp();
  await projection.close();
  expect(live.length).toBeGreaterThan(4);
  expect((live.at(-1) ?? 0) - (live[0] ?? 0)).toBeLessThan(4 * 1024 * 1024);
});

test('D10 the bytes written per conversation do not grow with the dataset', async () => {
  const store = arrayStore(100);
  const projection = await openProjection(optionsFor(store));
  const sizes: number[] = [];
  for (const count of [100, 200, 300]) {
    store.count = count;
    await projection.catchUp();
    sizes.push((await stat(join(out, 'synthetic_qa.jsonl'))).size);
  }
  await projection.close();
  const [first = 0, second = 0, third = 0] = sizes;
  expect((third - second) / (second - first)).toBeCloseTo(1, 1);
});

describe('export of one run', () => {
  const other = runId('other-run');
  const store = arrayStore(8, (seq) => ({ ...sampleCommit(seq), runId: seq % 2 === 0 ? other : RUN }));
  const exported = (over: Partial<Parameters<typeof exportRun>[0]> = {}): Promise<number> =>
    exportRun({ ...optionsFor(store), outputDir: join(out, 'one-run'), runId: other, ...over });

  test('has its rows only, and can be made again', async () => {
    expect(await exported()).toBe(4);
    const first = await contents(join(out, 'one-run'));
    const ids = (first['/conversations_index.jsonl'] ?? '')
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { conversation_id: string }).conversation_id);
    expect(ids).toEqual(['harbour-en-0001', 'harbour-en-0003', 'harbour-en-0005', 'harbour-en-0007']);
    expect(Object.keys(first).filter((name) => name.startsWith('/conversations/'))).toHaveLength(4);
    expect(await exported()).toBe(4);
    expect(await contents(join(out, 'one-run'))).toEqual(first);
  });

  test('A4 refuses a folder that holds anything else, and leaves it as it is', async () => {
    const projection = await openProjection(optionsFor(arrayStore(3)));
    await projection.catchUp();
    await projection.close();
    const before = await contents(out);
    await expect(exported({ outputDir: out })).rejects.toMatchObject({ code: 'output' });
    expect(await contents(out)).toEqual(before);
    await exported();
    await expect(exported({ runId: RUN })).rejects.toMatchObject({ code: 'output' });
  });
});
