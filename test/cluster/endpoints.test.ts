/** `dlgforge endpoints` for a run on a cluster: what its nodes do, and what its router knows. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type CliProject, type Finished, makeProject } from '../support/cli-project.ts';
import { killProcessesOf } from '../support/cluster-processes.ts';

const SAMPLES = 24;
const KNOWN_MS = 4_000;

interface Listed {
  readonly name: string;
  readonly wanted: string;
  readonly live: { readonly answered: number; readonly state: string } | null;
}

const servers: Rehearsal[] = [];
let project: CliProject;

beforeAll(async () => {
  // So slow that commands fit into the run on any machine; when they are done it may hurry.
  const slow = { seed: 1, model: 'm1', latency: { mean_ms: 1_500 } };
  for (let number = 0; number < 3; number += 1) servers.push(await startRehearsal(slow));
  const role = { provider: 'vllm', model: 'm1' };
  project = await makeProject({
    run: {
      total_samples: SAMPLES,
      batch_size: 4,
      target_languages: ['en'],
      turns: { mode: 'exact', exact: 2 },
      distributed: { enabled: true, replicas_qa: 1, replicas_complete: 0 },
    },
    llm: {
      backend: 'vllm_attach',
      agents: { user: role, assistant: role, judge: role },
      routing: { endpoints: [{ name: 'one', base_url: `${servers[0]?.url}/v1` }] },
    },
    retrieval: { embeddings: { backend: 'none' } },
  });
});
afterAll(async () => {
  killProcessesOf(project.folder);
  await project[Symbol.asyncDispose]();
  await Promise.all(servers.map((server) => server.close()));
});

const environment = (): Record<string, string> => ({
  DLGFORGE_CLUSTER_DIR: join(project.folder, 'clusters'),
});
const endpoints = (...args: string[]): Promise<Finished> =>
  project.run(['endpoints', ...args], environment());
const listed = async (): Promise<readonly Listed[]> =>
  (JSON.parse((await endpoints('list', '--json')).stdout) as { endpoints: Listed[] }).endpoints;
const arrivals = (number: number): readonly number[] =>
  (servers[number]?.log() ?? []).flatMap((entry) =>
    entry.event === 'arrival' && entry.route === 'chat' ? [entry.at_ms] : [],
  );

test('endpoints come and go while the nodes of a cluster work; one without its key is left alone', async () => {
  const running = project.start(['run', 'config.yaml', '--run-id', 'R', '--json'], environment());
  onTestFinished(() => void running.child.kill('SIGKILL'));
  await expect.poll(() => arrivals(0).length, { timeout: 60_000 }).toBeGreaterThan(3);
  const key = ['--name', 'keyed', '--api-key-env', 'A_KEY_THAT_NOBODY_HAS', '--no-check'];
  const keyed = await endpoints('add', `${servers[2]?.url}/v1`, ...key);
  expect(keyed.code, keyed.stderr).toBe(0);
  const added = await endpoints('add', `${servers[1]?.url}/v1`, '--name', 'two');
  expect(added.code, added.stderr).toBe(0);
  await expect.poll(() => arrivals(1).length, { timeout: 15_000 }).toBeGreaterThan(0);
  const drained = await endpoints('drain', 'one');
  expect(drained.code, drained.stderr).toBe(0);
  const knownAtMs = Date.now() + KNOWN_MS;
  expect(await listed()).toMatchObject([
    { name: 'keyed', wanted: 'use', live: { answered: 0 } },
    { name: 'one', wanted: 'drain', live: { answered: expect.any(Number) } },
    { name: 'two', wanted: 'use', live: { state: 'open_for_traffic' } },
  ]);
  await expect.poll(() => arrivals(1).at(-1) ?? 0, { timeout: 15_000 }).toBeGreaterThan(knownAtMs);
  for (const server of servers) server.setOptions({ latency: { mean_ms: 0 } });
  const { code, stdout, stderr } = await running.finished;
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ status: 'completed', conversations: SAMPLES });
  expect(arrivals(0).filter((atMs) => atMs > knownAtMs)).toEqual([]);
  expect(arrivals(2)).toEqual([]);
});
