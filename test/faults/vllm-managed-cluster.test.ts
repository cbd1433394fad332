/** Model servers on the nodes of a cluster: nodes die, servers die, and the run has its exact counts all the same. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ClusterLab, startLab } from '../support/cluster-lab.ts';
import { isRunning } from '../support/cluster-processes.ts';
import { machineWithGpus } from '../support/managed-project.ts';
import { waitFor } from '../support/processes.ts';
import { STAND_IN } from '../support/vllm-lab.ts';
import type { BehaviourInput } from '../support/vllm-stand-in/behaviour.ts';

interface Start {
  readonly port: number;
  readonly pid: number;
  readonly gpus: string;
  readonly args: readonly string[];
}

const SAMPLES = 30;
const SLOW = { start_ms: 500, rehearsal: { latency: { mean_ms: 120 } } };

let lab: ClusterLab;
let folder: string;

const behave = (behaviour: BehaviourInput): void =>
  writeFileSync(join(folder, 'behaviour.json'), JSON.stringify(behaviour));

function starts(): readonly Start[] {
  const file = join(folder, 'starts.jsonl');
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as Start);
}

const until = (what: string, holds: () => boolean, withinMs = 40_000): Promise<true> =>
  waitFor(
    () => (holds() ? true : undefined),
    withinMs,
    () => what,
  );

const rows = async (): Promise<number> => {
  const files = await lab.project.files();
  return (files.get('synthetic_qa.jsonl') ?? '').split('\n').filter(Boolean).length;
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dlgforge-stand-in-'));
  lab = await startLab({
    environment: { STAND_IN_FOLDER: folder },
    config: () => ({
      run: {
        run_id: 'managed',
        total_samples: SAMPLES,
        batch_size: 8,
        turns: { mode: 'exact', exact: 2 },
        distributed: {
          enabled: true,
          auto_start_local: false,
          spawn: { coordinator: false, workers: false },
        },
      },
      llm: {
        backend: 'vllm_managed',
        vllm: {
          model: 'example/tiny',
          served_model_name: 'tiny',
          command: STAND_IN,
          replicas: 2,
          num_gpus_per_replica: 1,
          port_start: 18_900,
          max_restarts: 0,
          // As configurations of 0.1.0 have it.
          advertise_host: '127.0.0.1',
        },
      },
      judge: { mode: 'online' },
    }),
  });
});
afterAll(async () => {
  await lab?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test('without enough GPUs, or without the program, a run is not submitted, and it is told what there is', async () => {
  await lab.startAgent({ gpus: 1 });
  const without = await lab.run(['run', 'config.yaml', '--set', 'llm.vllm.command=no-vllm']);
  expect(without.code).not.toBe(0);
  expect(without.stderr).toMatch(/No node of the cluster can start the vLLM servers:\n.*pip install vllm/);
  const { code, stderr } = await lab.run(['run', 'config.yaml']);
  expect(code).not.toBe(0);
  expect(stderr).toContain('not enough free GPUs for 2 servers with 1 GPU each');
  expect(stderr).toMatch(/ 1 +1 +0: unknown/);
  expect(await lab.store.activeRuns()).toEqual([]);
  console.info(stderr.split('\n').slice(-5).join('\n'));
});

test('replicas are spread over the nodes (H9); that of a node that dies is placed where there is room, and the counts are exact', async () => {
  behave(SLOW);
  const second = await lab.startAgent({ gpus: 1 });
  const run = lab.start(['run', 'config.yaml']);
  // Of the two, the one whose node says so before either serves.
  await run.shown('[run] replica ');
  await until('both serve', () => starts().length === 2);
  await run.shown('samples');
  const [a, b] = starts();
  expect(a?.args.join(' ')).toContain('--served-model-name tiny');
  const { stdout: nodes } = await lab.run(['cluster', 'status']);
  expect(nodes).toContain('1 of 1');
  expect(nodes).toMatch(/vLLM replica [01] of run managed/);
  await second.kill();
  const gone = await until(
    'its server is gone',
    () => [a, b].some((each) => !isRunning(each?.pid ?? 0)),
    5_000,
  );
  expect(gone).toBe(true);
  expect([a, b].filter((each) => isRunning(each?.pid ?? 0))).toHaveLength(1);
  // The other GPU of this machine, as a batch system gives it: a kept server is known to all nodes of a machine.
  await lab.startAgent({
    gpus: null,
    environment: {
      PATH: `${machineWithGpus(join(folder, 'bin'), 2)}:${process.env['PATH']}`,
      CUDA_VISIBLE_DEVICES: '1',
    },
  });
  await until('it is placed again', () => starts().length === 3);
  const { code, stderr } = await run.finished;
  expect(code, stderr).toBe(0);
  expect(await rows()).toBe(SAMPLES);
  await until(
    'servers are stopped when the run is over',
    () => starts().every(({ pid }) => !isRunning(pid)),
    20_000,
  );
  console.info('a node died:', starts().length, 'starts,', await rows(), 'rows');
});

test('when no server is left the run pauses with the reason, and goes on when it is told to', async () => {
  const before = starts().length;
  behave({ ...SLOW, die_after_requests: 8, die_status: 4 });
  const run = lab.start(['run', 'config.yaml', '--run-id', 'pausing', '--set', 'run.total_samples=12']);
  await run.shown('paused: No vLLM server is left');
  const { stdout } = await lab.run(['runs', 'show', 'pausing']);
  expect(stdout).toContain('it ended with status 4 while it served');
  expect(starts()).toHaveLength(before + 2);
  behave(SLOW);
  expect((await lab.run(['runs', 'resume', 'pausing'])).code).toBe(0);
  const { code, stderr } = await run.finished;
  expect(code, stderr).toBe(0);
  expect(await rows()).toBe(SAMPLES + 12);
  console.info('paused and resumed:', starts().length - before, 'starts,', await rows(), 'rows');
});

test('kept servers outlive their run and are taken up by the next, on the GPUs that they hold', async () => {
  const before = starts().length;
  // Until then they have the GPUs.
  await until('the end of the servers before', () => !starts().some(({ pid }) => isRunning(pid)));
  // So slow that both serve before two conversations are done: one that does not serve yet is not kept.
  behave({ ...SLOW, rehearsal: { latency: { mean_ms: 500 } } });
  const args = [
    'run',
    'config.yaml',
    '--set',
    'llm.vllm.auto_stop_on_exit=false',
    '--set',
    'run.total_samples=2',
  ];
  const first = await lab.run([...args, '--run-id', 'kept-1']);
  expect(first.code, first.stderr).toBe(0);
  const kept = starts().slice(before);
  expect(kept).toHaveLength(2);
  expect(kept.map(({ gpus }) => gpus).toSorted()).toEqual(['0', '1']);
  expect(kept.every(({ pid }) => isRunning(pid))).toBe(true);
  const second = await lab.run([...args, '--run-id', 'kept-2']);
  expect(second.code, second.stderr).toBe(0);
  expect(starts()).toHaveLength(before + 2);
  expect(kept.every(({ pid }) => isRunning(pid))).toBe(true);
  console.info('kept: 2 starts for two runs,', await rows(), 'rows');
});
