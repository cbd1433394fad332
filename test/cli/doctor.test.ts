import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type CliProject, makeProject } from '../support/cli-project.ts';

interface Report {
  readonly ok: boolean;
  readonly problems: number;
  readonly checks: readonly {
    readonly name: string;
    readonly outcome: string;
    readonly text: string;
    readonly hint: string | null;
  }[];
}

let project: CliProject;
let server: Rehearsal;
beforeAll(async () => {
  server = await startRehearsal({ model: 'served' });
  project = await makeProject({ llm: { backend: 'rehearsal' } });
});
afterAll(async () => {
  await server.close();
  await project[Symbol.asyncDispose]();
});

const everything = async (): Promise<string[]> => (await readdir(project.folder, { recursive: true })).sort();

const agentsAt = (models: Readonly<Record<string, string>>, base_url: string) =>
  Object.fromEntries(
    Object.entries(models).map(([role, model]) => [role, { provider: 'hosted_vllm', model, base_url }]),
  );

test('a project that can run: no problem, nothing paid for, nothing left behind', async () => {
  const before = await everything();
  const { code, stdout, stderr } = await project.run(['doctor', 'config.yaml']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/✓ knowledge +7 readable documents, \d+ passages/);
  expect(stdout).toMatch(/✓ store +embedded Postgres \d+/);
  expect(stdout.trimEnd().split('\n').at(-1)).toBe(
    'no problems, no warnings. Next: npx dlgforge run config.yaml',
  );
  expect(await everything()).toEqual(before);
});

test('all problems at once, each with what to do', async () => {
  await writeFile(join(project.folder, 'knowledge', 'scan.pdf'), 'no pdf at all');
  await writeFile(join(project.folder, 'taken'), '');
  await writeFile(
    join(project.folder, 'bad.yaml'),
    stringify({
      run: { totl_samples: 3 },
      prompts: { path: 'nowhere' },
      llm: {
        backend: 'openai',
        agents: {
          ...agentsAt({ user: 'served', assistant: 'other' }, `${server.url}/v1`),
          judge: { provider: 'openai', model: 'm' },
        },
      },
      judge: { mode: 'online' },
      saving: { output_dir: 'taken/outputs' },
      store: { postgres: { dsn: 'postgres://me:hunter2@127.0.0.1:9/none' } },
    }),
  );
  const { code, stdout } = await project.run(['doctor', 'bad.yaml', '--json']);
  const report = JSON.parse(stdout) as Report;
  expect(code).toBe(1);
  expect(report.ok).toBe(false);
  const found = report.checks
    .filter(({ outcome }) => outcome !== 'ok')
    .map(({ name, text, hint }) => `${name}: ${text} ${hint ?? ''}`);
  const texts = [
    /^config: bad\.yaml:2: .*totl_samples.*total_samples/s,
    /^config: Prompts folder not found: .*nowhere .*prompts\.path/,
    /^keys: Missing required API key mapping environment variable `LLM_JUDGE_API_KEY_ENV` for agent `judge`\..*OPENAI_API_KEY/,
    /^knowledge: scan\.pdf is skipped: the PDF is broken/,
    /^endpoints: .* does not serve "other"\. Set the model to one that it serves, for example: served/,
    /^endpoints: openai was not asked/,
    /^disk: The output folder .*taken\/outputs cannot be made: .*taken is a file/,
    /^store: No connection to Postgres at 127\.0\.0\.1:9.*Start that server/,
  ];
  for (const text of texts) expect(found).toContainEqual(expect.stringMatching(text));
  expect(stdout).not.toContain('hunter2');
  // Lists of models are not in the log; what costs something is.
  expect(server.log()).toEqual([]);
});

test('an endpoint that nobody serves is a problem with what to start', async () => {
  const llm = {
    backend: 'openai',
    agents: agentsAt({ user: 'm', assistant: 'm', judge: 'm' }, 'http://127.0.0.1:9/v1'),
  };
  await writeFile(join(project.folder, 'away.yaml'), stringify({ llm }));
  const { code, stdout } = await project.run(['doctor', 'away.yaml']);
  expect(code).toBe(1);
  expect(stdout).toMatch(/✗ endpoints +http:\/\/127\.0\.0\.1:9\/v1 cannot be used: connection failed/);
  expect(stdout).toContain('vllm serve <model> --port 9');
  expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^1 problem, .* then: npx dlgforge doctor away\.yaml$/);
});

test('a knowledge folder without text is a problem, whatever is in it', async () => {
  await rm(join(project.folder, 'knowledge'), { recursive: true });
  const missing = await project.run(['doctor', 'config.yaml']);
  expect(missing.stdout).toMatch(/✗ knowledge +Missing knowledge directory: /);
  expect(missing.code).toBe(1);
});

test('a distributed run: whether a cluster answers, or what starting one takes', async () => {
  const distributed = { enabled: true, namespace: 'doctors' };
  const write = async (name: string, settings: object): Promise<void> =>
    await writeFile(
      join(project.folder, name),
      stringify({ run: { distributed: { ...distributed, ...settings } }, llm: { backend: 'rehearsal' } }),
    );
  await write('starts.yaml', {});
  await write('waits.yaml', { auto_start_local: false });
  await write('far.yaml', { address: 'nats://127.0.0.1:1' });
  const cluster = async (name: string) => {
    const { stdout } = await project.run(['doctor', name, '--json']);
    return (JSON.parse(stdout) as Report).checks.find((check) => check.name === 'cluster');
  };
  expect(await cluster('starts.yaml')).toMatchObject({ outcome: 'ok' });
  expect(await cluster('waits.yaml')).toMatchObject({
    outcome: 'problem',
    hint: expect.stringContaining('dlgforge cluster start --head') as string,
  });
  expect((await cluster('far.yaml'))?.outcome).toBe('problem');
  expect(await cluster('config.yaml')).toBeUndefined();
});
