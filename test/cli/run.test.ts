/** One project over its life: run, looked at, exported, interrupted, killed, resumed. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { type CliProject, filesBelow, makeProject } from '../support/cli-project.ts';

interface Listed {
  readonly id: string;
  readonly status: string;
  readonly calls: number;
  readonly languages: readonly {
    readonly language: string;
    readonly committed: number;
    readonly target: number;
  }[];
}

const CONFIG = {
  run: {
    total_samples: 2,
    batch_size: 4,
    target_languages: ['english', 'french'],
    turns: { mode: 'exact', exact: 2 },
  },
  llm: { backend: 'rehearsal' },
  judge: { mode: 'online' },
};
const SLOWLY = ['--set', 'run.total_samples=50', '--set', 'llm.rehearsal.latency.mean_ms=300'];

let project: CliProject;
beforeAll(async () => {
  project = await makeProject(CONFIG);
  await writeFile(join(project.folder, 'knowledge', 'scan.pdf'), 'no pdf at all');
});
afterAll(() => project[Symbol.asyncDispose]());

const runsOf = async (): Promise<Listed[]> =>
  JSON.parse((await project.run(['runs', 'list', '--json'])).stdout) as Listed[];

test('before the first run there are none, and looking makes nothing', async () => {
  expect(await project.run(['runs', 'list'])).toMatchObject({
    code: 0,
    stdout: 'No runs yet. Start one: npx dlgforge run config.yaml\n',
  });
  expect(await runsOf()).toEqual([]);
  expect((await project.run(['export', 'config.yaml'])).stderr).toContain(
    'There is nothing to export: this project has no store yet.',
  );
  await expect(filesBelow(join(project.folder, '.dlgforge'))).rejects.toThrow('ENOENT');
});

test('what the servers of a run lack is said before its documents are indexed', async () => {
  const servers = ['backend=vllm_managed', 'vllm.model=m', 'vllm.command=no-such-vllm'];
  const set = servers.flatMap((setting) => ['--set', `llm.${setting}`]);
  const { code, stderr } = await project.run(['run', 'config.yaml', ...set]);
  expect({ code, stderr }).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('no-such-vllm is not on'),
  });
  await expect(filesBelow(join(project.folder, 'knowledge_index'))).rejects.toThrow('ENOENT');
});

describe('a run', () => {
  test('reports on stderr, names what it skips, and leaves stdout empty', async () => {
    const { code, stdout, stderr } = await project.run(['run', 'config.yaml', '--run-id', 'first']);
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: '' });
    expect(stderr).toContain('skipped scan.pdf: the PDF is broken');
    expect(stderr).toMatch(/Run first: completed in/);
    expect(stderr).toMatch(/english +2 +2 +4 +0/);
    expect(stderr).not.toMatch(/NaN|undefined|dead-letter/);
  });

  test('--json prints the summary and nothing else on stdout', async () => {
    const { code, stdout } = await project.run([
      'run',
      'config.yaml',
      '--run-id',
      'second',
      '--json',
      '--set',
      'run.total_samples=1',
    ]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      runId: 'second',
      status: 'completed',
      conversations: 2,
      resumed: false,
    });
  });
});

describe('runs', () => {
  test('list has every run, newest first, with what it reached', async () => {
    const runs = await runsOf();
    expect(runs.map(({ id, status }) => [id, status])).toEqual([
      ['second', 'completed'],
      ['first', 'completed'],
    ]);
    expect(runs[1]?.languages).toMatchObject([
      { language: 'english', committed: 2, target: 2 },
      { language: 'french', committed: 2, target: 2 },
    ]);
    expect((await project.run(['runs', 'list'])).stdout).toContain('english 2/2, french 2/2; 8 turns');
  });

  test('show has calls by role, settings, places and how to go on', async () => {
    const { stdout } = await project.run(['runs', 'show', 'first', '--json']);
    const shown = JSON.parse(stdout) as Record<string, unknown>;
    expect(shown).toMatchObject({
      id: 'first',
      ordinal: 0,
      holder: null,
      outputDir: join(project.folder, 'outputs'),
    });
    expect((shown['models'] as { role: string }[]).map(({ role }) => role).sort()).toEqual([
      'assistant',
      'judge',
      'user',
    ]);
    expect(shown['settings']).toMatchObject({ 'run.seed': '0' });
    const text = (await project.run(['runs', 'show', 'first'])).stdout;
    expect(text).toContain('npx dlgforge run config.yaml --resume first');
  });

  test('show of a run that is not there says where to look', async () => {
    const { code, stdout, stderr } = await project.run(['runs', 'show', 'third']);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('There is no run third in this store. List them with: dlgforge runs list');
  });
});

describe('export', () => {
  test('I6: a deleted folder comes back with the same bytes, marker and run states too; and again', async () => {
    const before = await project.files();
    const markerPath = join(project.folder, 'outputs', '.dlgforge-dataset.json');
    const marker = await readFile(markerPath, 'utf8');
    const lastRun = join('run_state', 'last_run_id.txt');
    expect(before.get(lastRun)).toBe('second');
    await rm(join(project.folder, 'outputs'), { recursive: true });
    const first = await project.run(['export', 'config.yaml', '--json']);
    expect(JSON.parse(first.stdout), first.stderr).toMatchObject({
      runs: ['first', 'second'],
      conversations: 6,
    });
    expect(await project.files()).toEqual(before);
    expect(await readFile(markerPath, 'utf8')).toBe(marker);
    expect((await project.run(['export', 'config.yaml'])).code).toBe(0);
    expect(await project.files()).toEqual(before);
    expect(await readFile(markerPath, 'utf8')).toBe(marker);
  });

  test('one run alone needs a folder of its own when there are others', async () => {
    const alone = await project.run(['export', 'config.yaml', '--run', 'second']);
    expect(alone.code).toBe(2);
    expect(alone.stderr).toMatch(/has 2 runs.*--output-dir/);
    const { code, stderr } = await project.run([
      'export',
      'config.yaml',
      '--run',
      'second',
      '--output-dir',
      'alone',
    ]);
    expect(code, stderr).toBe(0);
    const files = await project.files('alone');
    expect(files.get('conversations_index.jsonl')?.trim().split('\n')).toHaveLength(2);
    expect(files.get(join('run_state', 'second.json'))).toBe(
      (await project.files()).get(join('run_state', 'second.json')),
    );
  });

  test('--format writes the dataset for other tools; an unknown one is refused, and all are named', async () => {
    const { code, stdout, stderr } = await project.run([
      'export',
      'config.yaml',
      '--format',
      'sharegpt,jsonl.zst',
      '--test',
      '0.5',
      '--languages',
      'french',
      '--json',
    ]);
    expect(code, stderr).toBe(0);
    const { exports } = JSON.parse(stdout) as { exports: { folder: string } };
    expect(exports).toMatchObject({
      splits: { train: 2, test: 1 },
      languages: { french: 3 },
      rehearsal: true,
    });
    const lines = await readFile(join(exports.folder, 'sharegpt', 'train.jsonl'), 'utf8');
    expect(lines.trim().split('\n')).toHaveLength(2);
    const refused = await project.run(['export', 'config.yaml', '--format', 'arrow']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('"arrow" is none of sharegpt, openai, chatml, parquet, jsonl.zst.');
  });

  test('the configured formats are written at the end of a run; a failure there is told, with exit code 3', async () => {
    const folder = join(project.folder, 'outputs', 'exports');
    const again = ['run', 'config.yaml', '--resume', 'second', '--set', 'saving.export.formats=parquet'];
    const written = await project.run(again);
    expect(written.code, written.stderr).toBe(0);
    expect(written.stderr).toMatch(/Formats\n +parquet in outputs\/exports/);
    await rm(join(folder, '.dlgforge-export.json'));
    const failed = await project.run(again);
    expect(failed.code).toBe(3);
    expect(failed.stderr).toMatch(
      /Run second: completed.*FAILED: .*cannot be the export folder.*--format parquet/s,
    );
    await rm(folder, { recursive: true });
  });

  test('a run or a folder that nobody knows is said', async () => {
    expect((await project.run(['export', 'config.yaml', '--run', 'third'])).stderr).toContain(
      'There is no run third in this store',
    );
    const { code, stderr } = await project.run(['export', 'config.yaml', '--output-dir', 'elsewhere']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/knows of no dataset in .*elsewhere.*--run second is the latest/s);
  });
});

describe('while a run is going on', () => {
  test('looking is free, writing is refused naming the process; one Ctrl-C ends it in order, with 130', async () => {
    const running = project.start(['run', 'config.yaml', '--run-id', 'long', ...SLOWLY]);
    await running.shown('starting run long');
    expect((await runsOf())[0]).toMatchObject({ id: 'long', status: 'running' });
    const refused = await project.run(['export', 'config.yaml']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`The process ${running.child.pid} on`);
    running.child.kill('SIGINT');
    const { code, stdout, stderr } = await running.finished;
    expect({ code, stdout }, stderr).toEqual({ code: 130, stdout: '' });
    expect(stderr).toContain('npx dlgforge run config.yaml --resume long');
    expect(stderr).not.toContain('dead-letter');
    expect((await runsOf())[0]).toMatchObject({ id: 'long', status: 'interrupted' });
  });

  test('a second Ctrl-C ends it at once; what a killed process left is shown as interrupted', async () => {
    const running = project.start(['run', 'config.yaml', '--run-id', 'long', ...SLOWLY]);
    await running.shown('going on with run long');
    running.child.kill('SIGINT');
    await running.shown('Ask again');
    running.child.kill('SIGINT');
    const { code, stderr } = await running.finished;
    expect(code).toBe(130);
    expect(stderr).toContain('Stopped at once.');
    const [left] = await runsOf();
    expect(left).toMatchObject({ id: 'long', status: 'interrupted' });
    expect((await project.run(['runs', 'show', 'long'])).stdout).toContain(
      'go on with: npx dlgforge run config.yaml --resume long',
    );
  });
});

describe('what a run needs and has not', () => {
  const configured = async (name: string, config: object): Promise<string> => {
    await writeFile(join(project.folder, name), stringify(config));
    return (await project.run(['run', name])).stderr;
  };
  const models = (provider: string) =>
    Object.fromEntries(['user', 'assistant', 'judge'].map((role) => [role, { provider, model: 'm' }]));

  test('keys: the variables by name, for every role at once', async () => {
    const config = { ...CONFIG, llm: { backend: 'openai', agents: models('openai') } };
    const without = await configured('keys.yaml', config);
    for (const role of ['user', 'assistant', 'judge']) {
      const variable = `LLM_${role.toUpperCase()}_API_KEY_ENV`;
      expect(without).toContain(
        `Missing required API key mapping environment variable \`${variable}\` for agent \`${role}\``,
      );
    }
    const { stderr } = await project.run(['run', 'keys.yaml'], {
      LLM_USER_API_KEY_ENV: 'MY_KEY',
      LLM_ASSISTANT_API_KEY_ENV: 'MY_KEY',
      LLM_JUDGE_API_KEY_ENV: 'MY_KEY',
    });
    expect(stderr).toContain(
      'Missing or empty provider API key environment variable `MY_KEY` (configured by `LLM_USER_API_KEY_ENV`) for agent `user`',
    );
  });

  test('a place for its files', async () => {
    await writeFile(join(project.folder, 'taken'), '');
    const stderr = await configured('taken.yaml', { ...CONFIG, saving: { output_dir: 'taken/outputs' } });
    expect(stderr).toMatch(
      /^dlgforge run failed: cannot write .*taken\/outputs: a part of this path is a file/m,
    );
  });

  test('documents', async () => {
    await rm(join(project.folder, 'knowledge'), { recursive: true });
    expect((await project.run(['run', 'config.yaml'])).stderr).toContain('Missing knowledge directory: ');
  });
});
