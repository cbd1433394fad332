/** `dlgforge push` as people call it, against a server that speaks the Hub's endpoints; and publishing after a run. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CliProject, type Finished, makeProject, startCli } from '../support/cli-project.ts';
import { type HubServer, startHub } from '../support/hub-server.ts';
import { askingModel, type ModelServer, startModelServer } from '../support/model-server.ts';
import { oldNodes } from '../support/old-nodes.ts';

const OLD_NODES = oldNodes();

const TOKEN = 'hf_0123456789_the_token';
const REPO = 'datasets/somebody/data';
const RUN = {
  total_samples: 2,
  batch_size: 4,
  target_languages: ['english', 'french'],
  turns: { mode: 'exact', exact: 2 },
};

let hub: HubServer;
beforeEach(async () => {
  hub = await startHub({ token: TOKEN });
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  expect({ problems: hub.problems, faultsLeft: hub.faultsLeft }).toEqual({ problems: [], faultsLeft: 0 });
});

/** The files of the export but for the marker, which stays here; and those of the Hub. */
const exported = (project: CliProject, folder = 'outputs/hf_export'): Promise<Map<string, string>> =>
  project.files(folder);
const published = (repo = REPO): Map<string, string> =>
  new Map(
    [...(hub.repos.get(repo)?.files ?? [])]
      .filter(([path]) => path !== '.gitattributes')
      .map(([path, bytes]): [string, string] => [path, bytes.toString()])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
const commits = () => hub.repos.get(REPO)?.commits ?? [];
const sorted = (files: Map<string, string>): Map<string, string> =>
  new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)));

describe('push', () => {
  let project: CliProject;
  let ran: Finished;
  beforeAll(async () => {
    project = await makeProject({
      run: RUN,
      llm: { backend: 'rehearsal' },
      judge: { mode: 'online' },
      saving: {
        hf_push: {
          enabled: true,
          auto_push_on_run: true,
          repo_id: 'somebody/data',
          generate_stats: true,
          generate_plots: true,
        },
      },
    });
    // Nobody listens there: a run that asked would fail.
    ran = await project.run(['run', 'config.yaml', '--quiet'], { HF_ENDPOINT: 'http://127.0.0.1:1' });
  });
  afterAll(() => project[Symbol.asyncDispose]());

  const push = (args: readonly string[] = [], env: Record<string, string> = {}): Promise<Finished> =>
    project.run(['push', 'config.yaml', ...args], { HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN, ...env });
  const rehearsed = (args: readonly string[] = [], env: Record<string, string> = {}): Promise<Finished> =>
    push(['--allow-rehearsal', ...args], env);

  test('a run does not publish conversations of the rehearsal, which is no failure', () => {
    expect(ran.stderr).toContain(
      'skipped: the conversations come from the built-in rehearsal and not from a model',
    );
    expect(ran.code).toBe(0);
  });

  test('publishes the export in one commit, says where, and says it on stdout', async () => {
    const { code, stdout, stderr } = await rehearsed();
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^4 conversations of .*hf_export are in the dataset somebody\/data/);
    expect(stdout).toContain(`${hub.url}/${REPO}`);
    expect(stderr).toContain('[hf-push] committing');
    expect(published()).toEqual(sorted(await exported(project)));
    expect([...published().keys()]).toEqual(
      expect.arrayContaining(['README.md', 'dataset_stats.json', 'plots/turn_count_distribution.svg']),
    );
    expect(commits()).toMatchObject([{ summary: 'Update synthetic dataset export' }]);
    expect(hub.repos.get(REPO)?.visibility).toBe('private');
  });

  test('every option of 0.1.0; --quiet and --json', async () => {
    hub.seed('models/else/where', { stale: '1' });
    const { code, stdout, stderr } = await rehearsed([
      '--repo-id=else/where',
      '--repo-type',
      'model',
      '--source-dir',
      'outputs',
      '--export-dir',
      'elsewhere/export',
      '--include-run-state',
      '--commit-message',
      'By hand',
      '--clean-remote',
      '--quiet',
      '--json',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      repoId: 'else/where',
      repoType: 'model',
      records: 4,
      pushed: true,
      deleted: 1,
      url: `${hub.url}/else/where`,
      exportDir: join(project.folder, 'elsewhere', 'export'),
    });
    expect(published('models/else/where')).toEqual(sorted(await exported(project, 'elsewhere/export')));
    expect([...published('models/else/where').keys()].some((path) => path.startsWith('run_state/'))).toBe(
      true,
    );
    expect(hub.repos.get('models/else/where')?.commits).toMatchObject([
      { summary: 'By hand', deleted: ['stale'] },
    ]);
  });

  test('I8 of the invariants: the token is in no output, log, file or process list; --token comes first', async () => {
    const running = project.start(
      ['push', 'config.yaml', '--allow-rehearsal', '--token', TOKEN, '--verbose'],
      {
        HF_ENDPOINT: hub.url,
        HF_TOKEN: 'hf_another_token_that_is_wrong',
      },
    );
    hub.fail({ at: /preupload/, times: 1, how: 'hold' });
    await hub.held();
    const commandLine = await readFile(`/proc/${running.child.pid}/cmdline`, 'utf8');
    hub.release();
    const { code, stdout, stderr } = await running.finished;
    expect(code, stderr).toBe(0);
    const everything = [commandLine, stdout, stderr, ...(await project.files('.')).values()].join('\n');
    expect(everything).not.toContain(TOKEN);
    expect(everything).not.toContain('hf_another_token');
  });

  test.skipIf(OLD_NODES.length === 0)(
    'I8 of the invariants: nor is it on the command line of the newer Node that an older one hands over to',
    async () => {
      const args = ['push', 'config.yaml', '--allow-rehearsal', '--token', TOKEN];
      const running = startCli(args, project.folder, { HF_ENDPOINT: hub.url }, OLD_NODES[0]);
      hub.fail({ at: /preupload/, times: 1, how: 'hold' });
      await hub.held();
      const { pid } = running.child;
      const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
      const [child] = children.trim().split(' ');
      const lines = await Promise.all([pid, child].map((id) => readFile(`/proc/${id}/cmdline`, 'utf8')));
      hub.release();
      expect(children.trim()).not.toBe('');
      expect(lines.join('\n')).not.toContain(TOKEN);
      const { code, stderr } = await running.finished;
      expect(code, stderr).toBe(0);
    },
  );

  test('the token of .env, and the older variable', async () => {
    await writeFile(join(project.folder, '.env'), `HUGGINGFACE_HUB_TOKEN=${TOKEN}\nHF_ENDPOINT=${hub.url}\n`);
    const { code, stderr } = await project.run(['push', 'config.yaml', '--allow-rehearsal']);
    await rm(join(project.folder, '.env'));
    expect(code, stderr).toBe(0);
    expect(commits()).toHaveLength(1);
  });

  test('--no-push only builds; --no-export publishes the folder as it is; a second time there is nothing to do', async () => {
    const built = await push(['--no-push', '--export-dir', 'outputs/mine'], { HF_TOKEN: '' });
    expect(built.code, built.stderr).toBe(0);
    expect(built.stdout).toMatch(/^4 conversations exported to .*outputs\/mine\n$/);
    expect(hub.requests).toEqual([]);
    await writeFile(join(project.folder, 'outputs', 'mine', 'mine.txt'), 'mine');
    for (const done of ['in one commit', 'the Hub held the same already']) {
      const { code, stdout, stderr } = await rehearsed(['--no-export', '--export-dir', 'outputs/mine']);
      expect(code, stderr).toBe(0);
      expect(stdout).toContain(done);
    }
    expect(published().get('mine.txt')).toBe('mine');
    expect(commits()).toHaveLength(1);
  });

  describe('what can be wrong is found before anything is built or sent', () => {
    const NO_FILE = join('outputs', 'never');
    test.each<[string, string[], Record<string, string>, number, RegExp]>([
      [
        'no repository',
        ['--set', 'saving.hf_push.repo_id=""'],
        {},
        1,
        /^dlgforge push failed: HF repo_id is required\..*--repo-id/,
      ],
      ['a refused token', ['--allow-rehearsal'], { HF_TOKEN: 'hf_wrong' }, 1, /401.*not accepted.*HF_TOKEN/],
      [
        'no kind of repository',
        ['--repo-type', 'bucket'],
        {},
        2,
        /Allowed choices are dataset, model, space/,
      ],
      ['nothing to do', ['--no-export', '--no-push'], {}, 2, /leave nothing to do/],
      [
        'A4: an export folder that is none',
        ['--export-dir', 'outputs'],
        {},
        1,
        /must be a folder of its own/,
      ],
      ['rehearsal data', [], {}, 1, /come from the built-in rehearsal.*--allow-rehearsal/],
    ])('%s', async (_, args, env, code, text) => {
      const finished = await push(['--export-dir', NO_FILE, ...args], env);
      expect(finished.stderr).toMatch(text);
      expect(finished).toMatchObject({ code, stdout: '' });
      await expect(project.files(NO_FILE)).rejects.toThrow('ENOENT');
      expect(hub.requests.filter((request) => !request.includes('whoami'))).toEqual([]);
    });
  });

  test('Ctrl-C during an upload ends with 130 and says how to go on; the same command does', async () => {
    hub.fail({ at: /commit/, times: 1, how: 'hold' });
    const running = project.start(['push', 'config.yaml', '--allow-rehearsal'], {
      HF_ENDPOINT: hub.url,
      HF_TOKEN: TOKEN,
    });
    await hub.held();
    running.child.kill('SIGINT');
    const { code, stderr } = await running.finished;
    expect({ code, stderr }).toMatchObject({
      code: 130,
      stderr: expect.stringContaining('run the same command again'),
    });
    expect(commits()).toEqual([]);
    expect((await rehearsed()).code).toBe(0);
    expect(commits()).toHaveLength(1);
  });
});

describe('I6: publishing at the end of a run', () => {
  const AUTO = { enabled: true, auto_push_on_run: true, repo_id: 'somebody/data' };
  let model: ModelServer;
  let project: CliProject;
  beforeAll(async () => {
    model = await startModelServer();
    project = await makeProject({
      run: RUN,
      llm: askingModel(model.url),
      judge: { mode: 'online' },
      saving: { hf_push: AUTO },
    });
  });
  afterAll(async () => {
    await project[Symbol.asyncDispose]();
    await model[Symbol.asyncDispose]();
  });

  const run = (args: readonly string[], env: Record<string, string> = {}): Promise<Finished> =>
    project.run(['run', 'config.yaml', ...args], { HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN, ...env });

  test('I6: what it lacks is found before anything is spent', async () => {
    const { code, stderr } = await run(['--set', 'saving.hf_push.repo_id=""'], { HF_TOKEN: '' });
    expect(code).toBe(1);
    expect(stderr).toContain('HF repo_id is required.');
    expect(stderr).toContain('HF token not found.');
    expect({ asked: model.requests, hub: hub.requests }).toEqual({ asked: 0, hub: [] });
  });

  test('I6: a failure stands at the end of the summary, with the command that repeats it, and exit code 3', async () => {
    const failed = await run(['--run-id', 'one', '--set', 'saving.hf_push.commit_message=It is there'], {
      HF_TOKEN: 'hf_wrong',
    });
    expect(failed.code, failed.stderr).toBe(3);
    expect(failed.stderr).toMatch(/Run one: completed/);
    const command = /^ *npx (dlgforge push .*)$/m.exec(failed.stderr)?.[1] ?? '';
    expect(failed.stderr).toContain('FAILED: The Hub refused to say whose token this is: 401');
    expect(command).toBe("dlgforge push config.yaml --set 'saving.hf_push.commit_message=It is there'");
    expect(commits()).toEqual([]);
    const again = await project.run(
      ['push', 'config.yaml', '--set', 'saving.hf_push.commit_message=It is there'],
      {
        HF_ENDPOINT: hub.url,
        HF_TOKEN: TOKEN,
      },
    );
    expect(again.code, again.stderr).toBe(0);
    expect(commits()).toMatchObject([{ summary: 'It is there' }]);
    expect(published()).toEqual(sorted(await exported(project)));
  });

  test('what was added is published, and the summary says where', async () => {
    const { code, stdout, stderr } = await run(['--run-id', 'two', '--set', 'run.total_samples=1', '--json']);
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      status: 'completed',
      publication: { type: 'published', url: `${hub.url}/${REPO}`, commit: commits()[0]?.oid },
    });
    expect(published()).toEqual(sorted(await exported(project)));
  });
});
