/** `dlgforge endpoints`: the endpoints of a run in one process are changed from another one, while it is on. */
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type CliProject, type Finished, makeProject } from '../support/cli-project.ts';

const SAMPLES = 24;
/** Half a second between two looks, and what a loaded machine makes of it. */
const KNOWN_MS = 4_000;

interface Listed {
  readonly runId: string;
  readonly endpoints: readonly {
    readonly name: string;
    readonly wanted: string;
    readonly source: string;
    readonly answeredCalls: number;
  }[];
  readonly waiting: readonly string[];
}

/** So slow that commands fit into the run on any machine; when they are done it may hurry. */
const slow = { seed: 1, model: 'm1', latency: { mean_ms: 1_500 } };
const servers: Rehearsal[] = [];
let project: CliProject;

beforeAll(async () => {
  servers.push(await startRehearsal(slow), await startRehearsal(slow));
  servers.push(await startRehearsal({ ...slow, model: 'another' }));
  const role = { provider: 'vllm', model: 'm1' };
  project = await makeProject({
    run: {
      total_samples: SAMPLES,
      batch_size: 4,
      target_languages: ['en'],
      turns: { mode: 'exact', exact: 2 },
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
  await project[Symbol.asyncDispose]();
  await Promise.all(servers.map((server) => server.close()));
});

const endpoints = (...args: string[]): Promise<Finished> => project.run(['endpoints', ...args]);
const listed = async (...args: string[]): Promise<Listed> =>
  JSON.parse((await endpoints('list', '--json', ...args)).stdout) as Listed;
const server = (number: number): Rehearsal => {
  const found = servers[number];
  if (found === undefined) throw new Error(`there is no server ${number}`);
  return found;
};
const arrivals = (number: number): readonly number[] =>
  server(number)
    .log()
    .flatMap((entry) => (entry.event === 'arrival' && entry.route === 'chat' ? [entry.at_ms] : []));

test('without a run there is nothing to change, and that is said', async () => {
  const { code, stderr } = await endpoints('list');
  expect(code).toBe(1);
  expect(stderr).toContain('There is no run');
});

test('one is added and the other drained in the middle of a run, which ends right', async () => {
  const running = project.start(['run', 'config.yaml', '--run-id', 'R', '--json']);
  onTestFinished(() => void running.child.kill('SIGKILL'));
  await expect.poll(() => arrivals(0).length, { timeout: 30_000 }).toBeGreaterThan(3);

  const second = `${server(1).url}/v1`;
  const other = `${server(2).url}/v1`;
  const [refused, wrong] = [await endpoints('drain', 'nobody'), await endpoints('add', other)];
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('There is no endpoint nobody. The run has: one.');
  expect(wrong.code).toBe(1);
  expect(wrong.stderr).toContain('does not serve "m1"');
  expect((await listed()).endpoints).toMatchObject([{ name: 'one', wanted: 'use', source: 'configured' }]);

  const added = await endpoints('add', second, '--name', 'two');
  expect(added.code, added.stderr).toBe(0);
  expect(added.stderr).toContain('two is used by run R, within a second.');
  await expect.poll(() => arrivals(1).length, { timeout: 15_000 }).toBeGreaterThan(0);

  const drained = await endpoints('drain', 'one', 'config.yaml', '--json');
  expect(drained.code, drained.stderr).toBe(0);
  expect(JSON.parse(drained.stdout)).toMatchObject({
    runId: 'R',
    endpoint: { name: 'one', wanted: 'drain' },
    waiting: [],
  });
  const drainedAtMs = Date.now();

  await expect
    .poll(() => arrivals(1).at(-1) ?? 0, { timeout: 15_000 })
    .toBeGreaterThan(drainedAtMs + KNOWN_MS);
  for (const one of servers) one.setOptions({ latency: { mean_ms: 0 } });
  const { code, stdout, stderr } = await running.finished;
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ status: 'completed', conversations: SAMPLES });
  // Nothing went to the drained one once that was known.
  expect(arrivals(0).filter((atMs) => atMs > drainedAtMs + KNOWN_MS)).toEqual([]);
  const after = await listed('--run', 'R');
  expect(after.endpoints).toMatchObject([
    { name: 'one', wanted: 'drain' },
    { name: 'two', wanted: 'use', source: 'added' },
  ]);
  const paid = servers
    .flatMap((one) => one.log())
    .filter(({ event, status, route }) => event === 'completion' && route === 'chat' && status === 200);
  expect(new Set(paid.map(({ key }) => key)).size).toBe(paid.length);
  expect(after.endpoints.reduce((sum, { answeredCalls }) => sum + answeredCalls, 0)).toBe(paid.length);
});

test('what was drained stays drained when the run goes on, and comes back by its address', async () => {
  const goOn = ['run', 'config.yaml', '--resume', 'R', '--total-samples'];
  const before = arrivals(0).length;
  const resumed = await project.run([...goOn, String(SAMPLES + 2)]);
  expect(resumed.code, resumed.stderr).toBe(0);
  expect(arrivals(0)).toHaveLength(before);
  const back = await endpoints('add', `${server(0).url}/v1`, '--run', 'R');
  expect(back.stderr).toContain('one is used by run R, when the run goes on.');
  const removed = await endpoints('remove', 'two', '--run', 'R');
  expect(removed.code, removed.stderr).toBe(0);
  const [withTwo, withOne] = [arrivals(1).length, arrivals(0).length];
  const again = await project.run([...goOn, String(SAMPLES + 4)]);
  expect(again.code, again.stderr).toBe(0);
  expect(arrivals(1)).toHaveLength(withTwo);
  expect(arrivals(0).length).toBeGreaterThan(withOne);
  const text = await endpoints('list', '--run', 'R');
  expect(text.stdout).toMatch(/two +removed +added/);
  expect(text.stdout).toContain('No load and health are shown: the run is not on.');
});
