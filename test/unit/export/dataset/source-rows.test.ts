import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEFAULT_COLUMNS } from '../../../../src/dialogue/sharegpt-record.ts';
import { type BadLine, type SourceRow, SourceRows } from '../../../../src/export/dataset/source-rows.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'dlgforge-source-'));
});
afterAll(() => rm(root, { recursive: true }));

const PLAIN = 'conversations_sharegpt.jsonl';
const JUDGED = 'conversations_sharegpt_judged.jsonl';
let folders = 0;

async function folderWith(files: Readonly<Record<string, string>>): Promise<string> {
  folders += 1;
  const folder = join(root, `d${folders}`);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  return folder;
}

async function listed(rows: AsyncIterable<SourceRow>): Promise<SourceRow[]> {
  const list: SourceRow[] = [];
  for await (const row of rows) list.push(row);
  return list;
}

async function read(sourceDir: string, sourceFile: string, columns = DEFAULT_COLUMNS) {
  await using source = await SourceRows.open({ sourceDir, sourceFile, columns });
  const bad: BadLine[] = [];
  const rows = await listed(source.rows((line) => bad.push(line)));
  const again = await listed(source.rows());
  expect(again).toEqual(rows);
  return { file: source.file, rows, bad };
}

const row = (content: string): string =>
  JSON.stringify({ messages: [{ role: 'user', content }], metadata: { language: 'en' } });

test('the judged file stands in for the plain one when it is not empty; no other name is replaced', async () => {
  const both = await folderWith({ [PLAIN]: `${row('plain')}\n`, [JUDGED]: `${row('judged')}\n` });
  expect((await read(both, PLAIN)).file).toBe(JUDGED);
  const unjudged = await folderWith({ [PLAIN]: `${row('plain')}\n`, [JUDGED]: '' });
  expect((await read(unjudged, PLAIN)).file).toBe(PLAIN);
  await expect(read(unjudged, JUDGED)).rejects.toThrow('has no conversation in it');
});

test('I7: an empty source is an error that says what to do', async () => {
  const folder = await folderWith({ [PLAIN]: '', [JUDGED]: '' });
  await expect(read(folder, PLAIN)).rejects.toThrow('nothing to export');
  await expect(read(folder, JUDGED)).rejects.toThrow('dlgforge judge');
});

test('I10: a source file in a sub-folder is read; none outside of the folder is, not by a link either', async () => {
  const folder = await folderWith({ 'sub/rows.jsonl': row('q') });
  expect((await read(folder, 'sub/rows.jsonl')).rows).toHaveLength(1);
  await folderWith({ 'x.jsonl': row('secret') });
  await expect(read(folder, `../d${folders}/x.jsonl`)).rejects.toThrow('not inside');
  await symlink(join(root, `d${folders}/x.jsonl`), join(folder, 'link.jsonl'));
  await expect(read(folder, 'link.jsonl')).rejects.toThrow('not inside');
  await expect(read(folder, 'missing.jsonl')).rejects.toThrow('not found');
  await expect(read(folder, 'sub')).rejects.toThrow('is sub, which is no file in');
  await expect(read(join(root, 'nowhere'), 'x.jsonl')).rejects.toThrow('Source directory not found');
});

test('lines end at \\n only; what is no row is told with its line, blank lines are nothing', async () => {
  const folder = await folderWith({ [PLAIN]: `${row('a\u2028b\u0085c')}\n\n{torn\n[1]\n${row('d')}` });
  const { rows, bad } = await read(folder, PLAIN);
  expect(rows.map(({ row: made }) => made.messages[0]?.content)).toEqual(['a\u2028b\u0085c', 'd']);
  expect(rows.map(({ position }) => position)).toEqual([0, 1]);
  expect(bad).toEqual([
    { line: 3, reason: 'it is not JSON' },
    { line: 4, reason: 'it is not an object' },
  ]);
});

test('NaN and infinities of old files are nothing; numbers keep how they were written when they become text', async () => {
  const folder = await folderWith({
    [PLAIN]: `{"messages": [{"role": "user", "content": 1.0}], "judge": {"avg_score": NaN, "per_turn": [{"score": -Infinity, "n": 12345678901234567890}]}}\n`,
  });
  const { rows } = await read(folder, PLAIN);
  expect(rows[0]?.row.messages[0]?.content).toBe('1.0');
  expect(rows[0]?.row.judge.avg_score).toBeNull();
  expect(rows[0]?.row.metadata.extra).toBe('{"judge.per_turn[0].n": 12345678901234567890}');
});

test('I1: renamed columns are found, and default names where a file still has them', async () => {
  const columns = {
    ...DEFAULT_COLUMNS,
    messages: 'chat',
    assistant_reasoning: 'why',
    user_reasoning: 'metadata',
    metadata: 'facts',
  };
  const folder = await folderWith({
    [PLAIN]: `${JSON.stringify({ chat: [{ role: 'user', content: 'q' }], facts: { language: 'de' }, why: [{ reasoning_trace: { thinking: 'x' } }] })}\n${row('old')}\n`,
  });
  const [renamed, old] = (await read(folder, PLAIN, columns)).rows;
  expect(renamed?.row.metadata.language).toBe('de');
  expect(renamed?.row.assistant_reasoning[0]?.reasoning_trace.thinking).toEqual([{ text: 'x' }]);
  expect(old?.row.messages[0]?.content).toBe('old');
  // Here `metadata` is the name of another column.
  expect(old?.row.metadata.language).toBe('');
});
