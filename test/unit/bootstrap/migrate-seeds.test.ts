import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { applyPatch } from 'diff';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { migrateSeedFile, type SeedMigrationOptions } from '../../../src/bootstrap/migrate-seeds.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-seeds-'));
  await configure({});
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const put = async (name: string, text: string): Promise<void> => {
  await mkdir(dirname(join(folder, name)), { recursive: true });
  await writeFile(join(folder, name), text);
};
const configure = (topics: object): Promise<void> =>
  put('config.yaml', JSON.stringify({ run: { data: { seeding: { topics } } } }));
const questions = (name: string): string => JSON.stringify({ Topic: [`asked in ${name}`] });
const migrate = (options: Partial<SeedMigrationOptions> = {}) =>
  migrateSeedFile({
    configPath: join(folder, 'config.yaml'),
    overwrite: false,
    dryRun: false,
    ...options,
  });
const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');

describe('the source', () => {
  test.each([
    [
      'the configured file when it is JSON',
      'old/topics.json',
      ['old/topics.json', 'seed_topics.json'],
      'old/topics.json',
    ],
    ['then seed_topics.json', 'old/topics.yaml', ['old/topics.yaml', 'seed_topics.json'], 'seed_topics.json'],
    ['then the configured file whatever it is', 'old/topics.yaml', ['old/topics.yaml'], 'old/topics.yaml'],
    [
      'a configured JSON file that is not there is passed over',
      'old/topics.json',
      ['seed_topics.json'],
      'seed_topics.json',
    ],
  ])('%s', async (_, path, files, expected) => {
    await configure({ path });
    for (const name of files) await put(name, questions(name));
    const { source } = await migrate({ destFile: 'new.yaml' });
    expect(source).toBe(join(folder, expected));
    expect(await read('new.yaml')).toContain(`- asked in ${expected}`);
  });

  test('--source-file counts first, and starts from the project', async () => {
    await put('seed_topics.json', questions('seed_topics.json'));
    await put('mine/seeds.json', questions('mine'));
    expect((await migrate({ sourceFile: 'mine/seeds.json' })).source).toBe(join(folder, 'mine/seeds.json'));
  });

  test('nothing at all: seed_topics.json is asked for', () =>
    expect(migrate()).rejects.toThrow(
      `Seed topics source file not found: ${join(folder, 'seed_topics.json')}`,
    ));
});

describe('the destination', () => {
  beforeEach(() => put('seed_topics.json', questions('seed_topics.json')));

  test.each([
    ['the configured YAML file', { path: 'my/seeds.yml' }, {}, 'my/seeds.yml'],
    [
      'the usual one, when the configured file is no YAML',
      { path: 'my/seeds.json' },
      {},
      'data/seeds/topics.yaml',
    ],
    ['the default', {}, {}, 'data/seeds/topics.yaml'],
    ['--dest-file', {}, { destFile: 'a/b/c.yaml' }, 'a/b/c.yaml'],
  ])('%s', async (_, topics, options, expected) => {
    await configure(topics);
    expect(await migrate(options)).toMatchObject({ destination: join(folder, expected), state: 'written' });
    expect(await read(expected)).toMatch(/^version: 1\ndefaults:\n/);
    expect(await readdir(dirname(join(folder, expected)))).toHaveLength(1);
  });

  test('a file that is there is replaced only with --overwrite; equal content is up to date', async () => {
    await put('data/seeds/topics.yaml', 'mine: []\n');
    const place = join(folder, 'data/seeds/topics.yaml');
    await expect(migrate()).rejects.toThrow(`Refusing to overwrite existing file: ${place}`);
    expect(await read('data/seeds/topics.yaml')).toBe('mine: []\n');
    expect((await migrate({ overwrite: true })).state).toBe('written');
    expect((await migrate()).state).toBe('up_to_date');
    expect((await migrate({ overwrite: true })).state).toBe('up_to_date');
  });

  test('refused or only looked at: no folder is made', async () => {
    await put('data/taken', '');
    expect(await migrate({ destFile: 'new/deep/topics.yaml', dryRun: true })).toMatchObject({
      state: 'dry_run',
    });
    await expect(migrate({ sourceFile: 'absent.json', destFile: 'new/deep/topics.yaml' })).rejects.toThrow(
      'not found',
    );
    await expect(migrate({ destFile: 'data/taken/topics.yaml' })).rejects.toThrow('Cannot write');
    expect((await readdir(folder)).toSorted()).toEqual(['config.yaml', 'data', 'seed_topics.json']);
  });

  test('the diff of a dry run turns the old file into the new one', async () => {
    await put('topics.yaml', 'version: 1\nvariants: {}\n');
    const options = { destFile: 'topics.yaml' };
    const { diff, replaces } = await migrate({ ...options, dryRun: true });
    expect(replaces).toBe(true);
    const before = await read('topics.yaml');
    await migrate({ ...options, overwrite: true });
    expect(applyPatch(before, diff)).toBe(await read('topics.yaml'));
  });
});

test.each([
  ['[1, 2]', 'Seed topics file must be a YAML/JSON object.'],
  ['', 'Seed topics file must be a YAML/JSON object.'],
  ['{"Topic": [1, null, " "]}', 'No valid seed topics found in source file.'],
  ['{"Topic": [', 'cannot be read'],
])('a source of %j is refused', async (text, message) => {
  await put('seed_topics.json', text);
  await expect(migrate()).rejects.toThrow(message);
  await expect(readdir(join(folder, 'data'))).rejects.toThrow('ENOENT');
});

test('a folder is no source, and no destination', async () => {
  await put('seeds/english.yaml', 'Topic: [a]\n');
  await put('seed_topics.json', questions('x'));
  await expect(migrate({ sourceFile: 'seeds' })).rejects.toThrow(
    `Expected seed topics FILE for migration, got directory: ${join(folder, 'seeds')}`,
  );
  await expect(migrate({ destFile: 'seeds' })).rejects.toThrow('is a folder');
});

test('no .env is read: a broken one is nobody’s business here', async () => {
  await put('seed_topics.json', questions('x'));
  await symlink('loop', join(folder, '.env'));
  await symlink('.env', join(folder, 'loop'));
  expect((await migrate()).state).toBe('written');
});
