import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type ExportFolderOptions,
  readExportMarker,
  replaceExport,
} from '../../../../src/export/dataset/export-folder.ts';
import { naming } from '../../../../src/export/output-error.ts';

let root: string;
let project: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'dlgforge-export-'));
});
afterAll(() => rm(root, { recursive: true }));
beforeEach(async () => {
  project = await mkdtemp(join(root, 'p'));
  await mkdir(join(project, 'outputs', 'conversations'), { recursive: true });
  await writeFile(join(project, 'outputs', 'rows.jsonl'), 'precious');
});

const CHILD = fileURLToPath(new URL('export-folder-child.ts', import.meta.url));

const optionsFor = (target: string, more: Partial<ExportFolderOptions> = {}): ExportFolderOptions => ({
  target,
  never: [
    { path: join(project, 'outputs'), name: 'the output folder', inside: false },
    { path: join(project, 'outputs', 'conversations'), name: 'the conversations', inside: true },
  ],
  builder: { host: 'here', pid: 1, processKey: 'me' },
  isAlive: () => false,
  ...more,
});

const write = (target: string, text: string, more: Partial<ExportFolderOptions> = {}) =>
  replaceExport(optionsFor(target, more), async (folder) => {
    await writeFile(join(folder, 'a.txt'), text);
    await writeFile(join(folder, 'b.txt'), text);
    return { records: 2, rehearsal: true };
  });

const textsIn = async (folder: string): Promise<readonly string[]> =>
  await Promise.all(['a.txt', 'b.txt'].map((name) => readFile(join(folder, name), 'utf8')));

/** What stands beside the export besides the output folder. */
const beside = async (): Promise<readonly string[]> => (await readdir(project)).toSorted();

describe('A4: what is in the way', () => {
  test('A4: the output folder, what is around it and what is in its folders are refused; nothing is touched', async () => {
    const target = (path: string) => write(join(project, path), 'new');
    await expect(target('outputs')).rejects.toThrow('it is the output folder');
    await expect(target('.')).rejects.toThrow('around the output folder');
    await expect(target('outputs/conversations')).rejects.toThrow('the conversations');
    await expect(target('outputs/conversations/x')).rejects.toThrow('inside the conversations');
    await symlink(join(project, 'outputs'), join(project, 'link'));
    await expect(target('link')).rejects.toThrow('it is the output folder');
    await expect(target('link/../outputs')).rejects.toThrow('it is the output folder');
    expect(await readFile(join(project, 'outputs', 'rows.jsonl'), 'utf8')).toBe('precious');
    expect(await beside()).toEqual(['link', 'outputs']);
  });

  test('A4: a folder with files of somebody else is refused, whatever marker they gave it', async () => {
    const mine = join(project, 'mine');
    await mkdir(mine);
    await writeFile(join(mine, 'notes.txt'), 'precious');
    await expect(write(mine, 'new')).rejects.toThrow('did not put there');
    await writeFile(join(mine, '.dlgforge-export.json'), '{"format": 2}');
    await expect(write(mine, 'new')).rejects.toThrow('did not put there');
    await expect(write(join(mine, 'notes.txt'), 'new')).rejects.toThrow('did not put there');
    expect(await readFile(join(mine, 'notes.txt'), 'utf8')).toBe('precious');
  });

  test('A4: nor is anything taken away that stands where a build would be', async () => {
    const aside = join(project, '.export.dlgforge-new');
    await mkdir(aside);
    await writeFile(join(aside, 'notes.txt'), 'precious');
    await expect(write(join(project, 'export'), 'new')).rejects.toThrow('did not put there');
    expect(await readFile(join(aside, 'notes.txt'), 'utf8')).toBe('precious');
  });
});

test('an empty folder, a new one below new folders, and an earlier export are replaced', async () => {
  const target = join(project, 'outputs', 'deep', 'export');
  await write(target, 'one');
  await write(target, 'two');
  expect(await textsIn(target)).toEqual(['two', 'two']);
  expect(await readExportMarker(target)).toEqual({ records: 2, rehearsal: true });
  const empty = join(project, 'empty');
  await mkdir(empty);
  await write(empty, 'one');
  expect(await textsIn(empty)).toEqual(['one', 'one']);
  expect(await readdir(join(project, 'outputs', 'deep'))).toEqual(['export']);
  expect(await beside()).toEqual(['empty', 'outputs']);
});

test('the marker of a finished export says nothing of this machine', async () => {
  const target = join(project, 'export');
  await write(target, 'one');
  const marker = await readFile(join(target, '.dlgforge-export.json'), 'utf8');
  expect(JSON.parse(marker)).toEqual({ format: 1, state: 'complete', records: 2, rehearsal: true });
});

test('A5: a build that fails leaves the export as it was, and nothing beside it', async () => {
  const target = join(project, 'export');
  await write(target, 'one');
  const failing = replaceExport(optionsFor(target), async (folder) => {
    await writeFile(join(folder, 'a.txt'), 'two');
    throw new Error('the disk is full');
  });
  await expect(failing).rejects.toThrow('the disk is full');
  expect(await textsIn(target)).toEqual(['one', 'one']);
  expect(await beside()).toEqual(['export', 'outputs']);
});

test('A5: what the system refuses is said with what to do, and the export is as it was', async () => {
  const target = join(project, 'export');
  await write(target, 'one');
  const failing = replaceExport(optionsFor(target), (folder) =>
    naming(join(folder, 'a.txt'), async () => {
      await writeFile(join(folder, 'none', 'a.txt'), 'two');
      return { records: 2, rehearsal: true };
    }),
  );
  await expect(failing).rejects.toThrow(
    /^cannot write .*a\.txt: .*The export that was there, if any, is as it was; put this right and run the same/,
  );
  await expect(failing).rejects.not.toThrow('dlgforge export');
  expect(await textsIn(target)).toEqual(['one', 'one']);
});

test('A4: a place below a file, or a link that leads nowhere, is refused before anything is built', async () => {
  await expect(write(join(project, 'outputs', 'rows.jsonl', 'sub'), 'new')).rejects.toThrow(
    'a part of this path is a file',
  );
  await symlink(join(project, 'nowhere'), join(project, 'link'));
  await expect(write(join(project, 'link'), 'new')).rejects.toThrow('a link to a place that is not there');
  expect(await beside()).toEqual(['link', 'outputs']);
});

test('one builder at a time, while it lives', async () => {
  const target = join(project, 'export');
  const builder = { host: 'here', pid: 2, processKey: 'another' };
  await replaceExport(optionsFor(target), async () => {
    await expect(write(target, 'new', { builder, isAlive: () => true })).rejects.toMatchObject({
      code: 'held',
    });
    await expect(write(target, 'new', { builder: { ...builder, host: 'elsewhere' } })).rejects.toMatchObject({
      code: 'held',
    });
    return { records: 0, rehearsal: false };
  });
});

describe('A5: killed in the middle', () => {
  const kill = async (target: string, step: string): Promise<void> => {
    const child = spawn(process.execPath, [CHILD, target, step], { stdio: 'inherit' });
    const [, signal] = await once(child, 'exit');
    expect(signal).toBe('SIGKILL');
  };

  test.each(['started', 'half', 'built', 'old_aside', 'new_in'] as const)(
    'A5: at "%s" the old or the new export is whole, and the next start cleans up',
    async (step) => {
      const target = join(project, 'export');
      await write(target, 'old');
      await kill(target, step);
      const place = existsSync(target) ? target : join(project, '.export.dlgforge-old');
      expect(place === target).toBe(step !== 'old_aside');
      const [first, second] = await textsIn(place);
      expect(first).toBe(step === 'new_in' ? 'new' : 'old');
      expect(second).toBe(first);
      expect(await readExportMarker(place)).not.toBeNull();

      // A start that fails in its turn puts everything back first.
      const failing = replaceExport(optionsFor(target), () => Promise.reject(new Error('stopped')));
      await expect(failing).rejects.toThrow('stopped');
      expect(await textsIn(target)).toEqual([first, second]);
      expect(await beside()).toEqual(['export', 'outputs']);
      await write(target, 'next');
      expect(await textsIn(target)).toEqual(['next', 'next']);
    },
  );

  test('A5: a folder that a kill left without its marker is taken away too', async () => {
    const target = join(project, 'export');
    const next = join(project, '.export.dlgforge-new');
    await mkdir(next);
    await writeFile(join(next, '.dlgforge-export.json.tmp'), '{"form');
    await write(target, 'one');
    expect(await beside()).toEqual(['export', 'outputs']);
  });
});
