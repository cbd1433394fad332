/** `cluster drain` and `cluster stop` while a run is on. */
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CliProject, type Finished, makeProject } from '../support/cli-project.ts';
import { killProcessesOf, processesOf } from '../support/cluster-processes.ts';

let project: CliProject;
beforeEach(async () => {
  project = await makeProject({
    run: {
      total_samples: 40,
      batch_size: 8,
      target_languages: ['en'],
      distributed: { enabled: true, replicas_qa: 1, replicas_complete: 0 },
    },
    llm: { backend: 'rehearsal', rehearsal: { seed: 1, latency: { mean_ms: 300 } } },
  });
});
afterEach(async () => {
  killProcessesOf(project.folder);
  await project[Symbol.asyncDispose]();
});

const environment = (): Record<string, string> => ({
  DLGFORGE_CLUSTER_DIR: join(project.folder, 'clusters'),
});
const dlgforge = (...args: string[]): Promise<Finished> => project.run(args, environment());

interface NodeRow {
  readonly node: string;
  readonly kind: string;
  readonly leads: readonly string[];
  readonly status: { readonly workers: number };
}
const nodes = async (): Promise<readonly NodeRow[]> =>
  JSON.parse((await dlgforge('cluster', 'nodes', '--json')).stdout) as NodeRow[];
const runNode = async (): Promise<NodeRow | undefined> => (await nodes()).find(({ kind }) => kind === 'run');

test('an attached run that is drained follows its run to the end; the others do the work', async () => {
  expect((await dlgforge('cluster', 'start', '--head')).code).toBe(0);
  const running = project.start(['run', 'config.yaml', '--json'], environment());
  await expect.poll(async () => (await runNode())?.status.workers, { timeout: 30_000 }).toBe(1);
  const drained = await dlgforge('cluster', 'drain', (await runNode())?.node ?? '');
  expect(drained.code, drained.stderr).toBe(0);
  expect(drained.stderr).toContain('follows its run to the end');
  expect(await runNode()).toMatchObject({ leads: [], status: { workers: 0 } });
  const { code, stdout, stderr } = await running.finished;
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ status: 'completed' });
  expect((await dlgforge('cluster', 'stop', '--all')).code).toBe(0);
});

test('a cluster that works is stopped within seconds, and nothing of it is left', async () => {
  expect((await dlgforge('cluster', 'start', '--head')).code).toBe(0);
  const detached = await dlgforge('run', 'config.yaml', '--detach');
  expect(detached.code, detached.stderr).toBe(0);
  await expect.poll(async () => (await nodes())[0]?.status.workers, { timeout: 30_000 }).toBe(1);
  const startedAtMs = Date.now();
  const stopped = await dlgforge('cluster', 'stop', '--all');
  expect(stopped.code, stopped.stderr).toBe(0);
  expect(Date.now() - startedAtMs).toBeLessThan(10_000);
  await expect.poll(() => processesOf(project.folder), { timeout: 10_000 }).toEqual([]);
});
