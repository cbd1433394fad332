import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CliProject, LAUNCHER, makeProject } from '../support/cli-project.ts';

let project: CliProject;
beforeAll(async () => {
  project = await makeProject({
    run: { total_samples: 3 },
    llm: {
      backend: 'openai',
      routing: { endpoints: [{ base_url: 'http://127.0.0.1:9/v1', api_key: 'sk-in-the-file' }] },
    },
    store: { postgres: { dsn: 'postgres://me:hunter2@db.example/dlgforge' } },
  });
  await writeFile(join(project.folder, '.env'), 'LLM_USER_MODEL=from-dotenv\n');
});
afterAll(() => project[Symbol.asyncDispose]());

test('config show --origin names where every value comes from and shows no secret (I8)', async () => {
  const { code, stdout, stderr } = await project.run(
    ['config', 'show', 'config.yaml', '--origin', '--set', 'run.seed=5'],
    { BATCH_SIZE: '7' },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lineOf = (key: string): string => stdout.split('\n').find((line) => line.startsWith(`${key} `)) ?? '';
  expect(lineOf('run.total_samples')).toMatch(/ 3 +file:.*config\.yaml:\d+$/);
  expect(lineOf('run.batch_size')).toMatch(/ 7 +env:BATCH_SIZE$/);
  expect(lineOf('run.seed')).toMatch(/ 5 +flag:--set run\.seed$/);
  expect(lineOf('llm.agents.user.model')).toMatch(/"from-dotenv" +env:LLM_USER_MODEL$/);
  expect(lineOf('judge.granularity')).toMatch(/ default$/);
  expect(lineOf('store.postgres.dsn')).toContain('postgres://me:***@db.example/dlgforge');
  expect(stdout).not.toMatch(/hunter2|sk-in-the-file/);
});

test('--json is the same for programs', async () => {
  const { code, stdout } = await project.run(['config', 'show', 'config.yaml', '--json', '--origin']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    'run.total_samples': { value: 3, origin: expect.stringMatching(/^file:/) },
  });
  expect(stdout).not.toMatch(/hunter2|sk-in-the-file/);
});

test.for(['config show config.yaml', '--help'])(
  'a reader of %s that goes away early is no failure',
  async (command) => {
    const running = project.start(command.split(' '));
    running.child.stdout?.destroy();
    expect(await running.finished).toMatchObject({ code: 0, stderr: '' });
  },
);

test('an output that cannot be written is a failure, and said in one line', () => {
  const command = `"${process.execPath}" "${LAUNCHER}" config show config.yaml > /dev/full`;
  const { status, stderr } = spawnSync('sh', ['-c', command], { cwd: project.folder, encoding: 'utf8' });
  expect(status).toBe(1);
  expect(stderr).toMatch(/^dlgforge: the standard output cannot be written: .*\n$/);
});

test('every problem is reported at once, with line and key', async () => {
  await writeFile(
    join(project.folder, 'bad.yaml'),
    'run:\n  batch_size: many\n  totl_samples: 3\njudge:\n  mode: never\n',
  );
  const { code, stdout, stderr } = await project.run(['run', 'bad.yaml']);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^dlgforge run failed: 3 problems in the configuration/);
  for (const text of ['bad.yaml:2', 'bad.yaml:3', 'total_samples', 'bad.yaml:5'])
    expect(stderr).toContain(text);
});
