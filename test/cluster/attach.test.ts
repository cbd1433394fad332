/** Servers that run already, asked by the nodes of a cluster; and the dataset published when they are done. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CliProject, type Finished, makeProject } from '../support/cli-project.ts';
import { killProcessesOf } from '../support/cluster-processes.ts';
import { startHub } from '../support/hub-server.ts';
import { type ModelServer, startModelServer } from '../support/model-server.ts';

const TOKEN = 'hf_0123456789_the_token';
const SAMPLES = 3;

let model: ModelServer;
let project: CliProject;

beforeAll(async () => {
  model = await startModelServer();
  const role = { provider: 'vllm', model: 'rehearsal' };
  project = await makeProject({
    run: {
      total_samples: SAMPLES,
      target_languages: ['english'],
      turns: { mode: 'exact', exact: 2 },
      distributed: { enabled: true, replicas_qa: 1, replicas_complete: 0 },
    },
    llm: {
      backend: 'vllm_attach',
      agents: { user: role, assistant: role, judge: role },
      routing: {
        endpoints: [
          { name: 'good', base_url: model.url },
          { name: 'away', base_url: 'http://127.0.0.1:9/v1' },
        ],
      },
    },
    judge: { mode: 'online' },
    saving: { hf_push: { enabled: true, auto_push_on_run: true, repo_id: 'somebody/data' } },
  });
});
afterAll(async () => {
  killProcessesOf(project.folder);
  await project[Symbol.asyncDispose]();
  await model[Symbol.asyncDispose]();
});

const run = (args: readonly string[], env: Record<string, string> = {}): Promise<Finished> =>
  project.run(['run', 'config.yaml', ...args], {
    DLGFORGE_CLUSTER_DIR: join(project.folder, 'clusters'),
    HF_TOKEN: TOKEN,
    HF_ENDPOINT: 'http://127.0.0.1:9',
    ...env,
  });

test('nothing is submitted when a role has no server that can be used', async () => {
  const { code, stderr } = await run([
    '--set',
    'llm.routing.endpoints=[{"name": "away", "base_url": "http://127.0.0.1:9/v1"}]',
  ]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/away: cannot be used: connection failed/);
  const { stdout } = await project.run(['runs', 'list', '--json']);
  expect(stdout).not.toContain('"status"');
});

test('a run goes on without those that cannot be used, and is published at its end', async () => {
  await using hub = await startHub({ token: TOKEN });
  const { code, stderr } = await run(['--run-id', 'R'], { HF_ENDPOINT: hub.url });
  expect(code, stderr).toBe(0);
  expect(stderr).toMatch(/going on without away: cannot be used: connection failed/);
  const published = hub.repos.get('datasets/somebody/data');
  expect(published?.commits).toHaveLength(1);
  const rows =
    published?.files.get('conversations_sharegpt_judged.jsonl')?.toString().trim().split('\n') ?? [];
  expect(rows).toHaveLength(SAMPLES);
  expect(hub.problems).toEqual([]);
});

test('where publishing fails the run is complete: exit code 3, and the line that repeats it', async () => {
  const { code, stderr } = await run(['--run-id', 'S']);
  expect(code, stderr).toBe(3);
  expect(stderr).toContain('npx dlgforge push config.yaml');
});
