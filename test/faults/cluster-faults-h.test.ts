/** What 0.1.0 did wrong when it ran on a cluster, by the numbers of its list H, on real processes. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { thisHead, writeAddress } from '../../src/bootstrap/cluster/address-file.ts';
import { type CliProject, type Finished, makeProject } from '../support/cli-project.ts';
import { killProcessesOf, processesOf } from '../support/cluster-processes.ts';
import { runCommand, startCommand } from '../support/node-process.ts';

const REHEARSAL = { backend: 'rehearsal', rehearsal: { latency: { mean_ms: 120 } } };
const configOf = (distributed: object, llm: object = REHEARSAL) => ({
  run: {
    run_id: 'h',
    total_samples: 8,
    batch_size: 4,
    turns: { mode: 'exact', exact: 2 },
    distributed: { enabled: true, ...distributed },
  },
  llm,
});

let project: CliProject;
const make = async (config: object): Promise<CliProject> => {
  project = await makeProject(config);
  return project;
};
/** Clusters of the person who runs the tests are not these. */
const environment = (): Record<string, string> => ({
  DLGFORGE_CLUSTER_DIR: join(project.folder, 'clusters'),
});
const runIt = (): Promise<Finished> => project.run(['run', 'config.yaml', '--json'], environment());

afterEach(async () => {
  killProcessesOf(project.folder);
  await project[Symbol.asyncDispose]();
});

/** Processes of this project. */
const left = (): number[] => processesOf(project.folder);

describe('H5: what can be known before anything is started is', () => {
  const MODELS = (base_url: string) => ({
    backend: 'openai',
    agents: Object.fromEntries(
      ['user', 'assistant', 'judge'].map((role) => [role, { model: 'm', base_url }]),
    ),
  });

  const ATTACHED = {
    backend: 'vllm_attach',
    routing: { endpoints: [{ name: 'gone', base_url: 'http://127.0.0.1:9/v1', model: 'm' }] },
  };

  test.each([
    ['a missing key', MODELS('https://models.example/v1'), /API_KEY/],
    ['a server that is not there', ATTACHED, /127\.0\.0\.1:9/],
  ])('%s', async (_, llm, said) => {
    await make(configOf({}, llm));
    const { code, stderr } = await runIt();
    expect(code).toBe(1);
    expect(stderr).toMatch(said);
    expect(existsSync(join(project.folder, '.dlgforge', 'cluster')), 'no cluster').toBe(false);
    expect(existsSync(join(project.folder, '.dlgforge', 'postgres')), 'no database').toBe(false);
    expect(left()).toEqual([]);
  });

  test('a folder without documents', async () => {
    await make(configOf({}));
    const knowledge = join(project.folder, 'knowledge');
    for (const name of await readdir(knowledge)) await rm(join(knowledge, name), { recursive: true });
    const { code, stderr } = await runIt();
    expect(code).toBe(1);
    expect(stderr).toMatch(/knowledge/);
    expect(existsSync(join(project.folder, '.dlgforge', 'cluster'))).toBe(false);
    expect(left()).toEqual([]);
  });

  test('H13: a cluster that would have no workers, though somebody is to wait for them', async () => {
    await make(configOf({ replicas_qa: 0, replicas_complete: 0 }));
    const { code, stderr } = await runIt();
    expect(code).toBe(1);
    expect(stderr).toContain('would have no workers');
    expect(left()).toEqual([]);
  });
});

test('H4: a run that cannot begin stops the cluster that was started for it', async () => {
  await make(configOf({ replicas_qa: 1, replicas_complete: 0 }));
  await mkdir(join(project.folder, 'outputs'));
  await writeFile(join(project.folder, 'outputs', '.dlgforge-dataset.json'), '{"format":');
  const { code, stderr } = await runIt();
  expect(code).toBe(1);
  expect(stderr).toContain('.dlgforge-dataset.json');
  expect(existsSync(join(project.folder, '.dlgforge', 'cluster')), 'it was started').toBe(true);
  await expect.poll(left, { timeout: 5_000 }).toEqual([]);
});

test('H2, H14: more workers than cores are no reservation, and a cluster that is not there is known by nothing but that', async () => {
  await make(
    configOf({ replicas_qa: 2, replicas_complete: 2, actor: { num_cpus: 64, coordinator_num_cpus: 64 } }),
  );
  // Of a head that was killed.
  await writeAddress(join(project.folder, 'clusters'), {
    namespace: 'dlgforge',
    natsUrl: 'nats://127.0.0.1:9',
    token: 'old',
    postgres: { type: 'embedded', stateDir: join(project.folder, 'old') },
    natsServerId: null,
    ...thisHead(),
    headPid: 2 ** 22 - 1,
    headNode: 'old-0001',
    startedAt: 'then',
  });
  const { code, stdout, stderr } = await runIt();
  expect(code, stderr).toBe(0);
  expect((JSON.parse(stdout) as { languages: { committed: number }[] }).languages[0]?.committed).toBe(8);
  await expect.poll(left, { timeout: 20_000, message: 'it ends with its run' }).toEqual([]);
});

test('H1, H3, H12, H13: workers of another node do the work for a process that brings neither a coordinator nor workers', async () => {
  await make(
    configOf({ replicas_qa: 0, replicas_complete: 0, spawn: { coordinator: false, workers: true } }),
  );
  const elsewhere = join(project.folder, 'elsewhere');
  await mkdir(elsewhere);
  const head = startCommand(['cluster', 'start', '--head', '--workers', '2', '--name', 'head', '--block'], {
    folder: elsewhere,
    env: environment(),
  });
  try {
    await head.says(/is ready/, 60_000);
    const run = project.start(['run', 'config.yaml', '--json'], environment());
    const worked = new Set<string>();
    const runsWorkers = new Set<number>();
    while (run.child.exitCode === null) {
      const { said } = await runCommand(['cluster', 'nodes', '--json'], {
        folder: elsewhere,
        env: environment(),
      });
      for (const { kind, leads, workers } of JSON.parse(said) as SeenNode[]) {
        if (kind === 'run') {
          runsWorkers.add(workers.length);
          expect(leads).toEqual([]);
        } else for (const { node, status } of workers) if ((status.conversations ?? 0) > 0) worked.add(node);
      }
      await sleep(50);
    }
    const { code, stderr } = await run.finished;
    expect(code, stderr).toBe(0);
    expect([...runsWorkers]).toEqual([0]);
    expect(worked.size, 'both workers have worked').toBe(2);
    const files = await project.files();
    expect(files.get('conversations_index.jsonl')?.trim().split('\n')).toHaveLength(8);
  } finally {
    await head.stop();
  }
});

interface SeenNode {
  readonly kind: string;
  readonly leads: readonly string[];
  readonly workers: readonly {
    readonly node: string;
    readonly status: { readonly conversations?: number };
  }[];
}
