/** What operators of 0.1.0 see of `seeds-migrate`: exit codes, the line on stderr, nothing on stdout. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CliProject, makeProject } from '../support/cli-project.ts';

let project: CliProject;
beforeAll(async () => {
  project = await makeProject({ run: { target_languages: ['english'] } });
  const topics = { Zakat: { english: ['Who pays?', 'no', 7], msa: ['ما هي الزكاة؟'] } };
  await writeFile(join(project.folder, 'seed_topics.json'), JSON.stringify(topics));
  // Nothing is asked of it: a key that is no key, in a line that is no line.
  await writeFile(join(project.folder, '.env'), 'PATH=/nowhere\n');
});
afterAll(() => project[Symbol.asyncDispose]());

const migrate = (...args: string[]) => project.run(['seeds-migrate', 'config.yaml', ...args]);

test('from the dry run over the migration to the refusal', async () => {
  const source = join(project.folder, 'seed_topics.json');
  const destination = join(project.folder, 'data', 'seeds', 'topics.yaml');
  const leftOut =
    '[seeds] seed_topics.json: topic "Zakat": topic "english": question 3 is the number 7, not a text; left out\n';

  const dry = await migrate('--dry-run');
  expect(dry.code).toBe(0);
  expect(dry.stdout).toMatch(/^--- \/dev\/null\n\+\+\+ .*topics\.yaml\n@@ -0,0 \+1,\d+ @@\n\+version: 1\n/);
  expect(dry.stderr).toBe(`${leftOut}[seeds] Nothing was written: ${destination} would be new\n`);
  expect((await readdir(project.folder)).toSorted()).toEqual([
    '.env',
    'config.yaml',
    'knowledge',
    'seed_topics.json',
  ]);

  expect(await migrate()).toMatchObject({
    code: 0,
    stdout: '',
    stderr: `${leftOut}[seeds] Migration completed: source=${source} dest_file=${destination} variants=2 topics=1\n`,
  });
  const written = await readFile(destination, 'utf8');
  expect(written).toContain(
    "variants:\n  english:\n    Zakat:\n    - Who pays?\n    - 'no'\n  msa:\n    Zakat:\n    - ما هي الزكاة؟\n",
  );
  expect((await migrate()).stderr).toBe(
    `${leftOut}[seeds] ${destination} is already up to date: source=${source}\n`,
  );

  await writeFile(destination, 'mine: [really?]\n');
  const refused = await migrate();
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toMatch(
    `dlgforge seeds-migrate failed: Refusing to overwrite existing file: ${destination}\nAdd --overwrite`,
  );
  const json = await migrate('--overwrite', '--json');
  expect(JSON.parse(json.stdout)).toMatchObject({
    source_file: source,
    dest_file: destination,
    variants: ['english', 'msa'],
    topic_count: 1,
    files_written: 1,
  });
  expect(await readFile(destination, 'utf8')).toBe(written);
});

test('a source that is not there: exit code 1 with the prefix', async () => {
  const { code, stdout, stderr } = await migrate('--source-file', 'absent.json');
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(
    `dlgforge seeds-migrate failed: Seed topics source file not found: ${join(project.folder, 'absent.json')}\n`,
  );
});
