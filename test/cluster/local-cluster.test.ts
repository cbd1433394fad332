/** The cluster that a run starts for itself, as real processes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readAddress } from '../../src/bootstrap/cluster/address-file.ts';
import { type CliProject, type Finished, makeProject } from '../support/cli-project.ts';
import { killProcessesOf, processesOf } from '../support/cluster-processes.ts';

let project: CliProject;
beforeEach(async () => {
  project = await makeProject({
    run: {
      total_samples: 6,
      batch_size: 4,
      target_languages: ['en'],
      distributed: { enabled: true, replicas_qa: 1, replicas_complete: 0 },
    },
    llm: { backend: 'rehearsal', rehearsal: { seed: 1 } },
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
const home = (): string => join(project.folder, '.dlgforge', 'cluster');
const servers = (): number[] =>
  processesOf(project.folder).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'nats-server';
    } catch {
      // It has ended while we looked.
      return false;
    }
  });

test('two runs at once share it; it ends with the last of them, and leaves nothing', async () => {
  let most = 0;
  const counting = setInterval(() => {
    most = Math.max(most, servers().length);
  }, 100);
  const ended = await Promise.all(
    ['one', 'two'].map((output) => dlgforge('run', 'config.yaml', '--json', '--output-dir', output)),
  );
  clearInterval(counting);
  for (const { code, stderr } of ended) expect(code, stderr).toBe(0);
  expect(most, 'NATS servers').toBe(1);
  await expect.poll(() => processesOf(project.folder), { timeout: 30_000 }).toEqual([]);
  expect(await readAddress(home(), 'dlgforge')).toBeNull();
});

test('commands in the project see it, and stop it', async () => {
  const { code, stderr } = await dlgforge('run', 'config.yaml', '--detach');
  expect(code, stderr).toBe(0);
  const status = await dlgforge('cluster', 'status', '--json');
  expect(status.code, status.stderr).toBe(0);
  const { nodes } = JSON.parse(status.stdout) as { nodes: { status: { head?: boolean } }[] };
  expect(nodes.map((node) => node.status.head)).toEqual([true]);
  const tree = await dlgforge('actors', 'tree', '--config', project.config);
  expect(tree.code, tree.stderr).toBe(0);
  const stopped = await dlgforge('cluster', 'stop', '--all');
  expect(stopped.code, stopped.stderr).toBe(0);
  await expect.poll(() => processesOf(project.folder), { timeout: 10_000 }).toEqual([]);
});
