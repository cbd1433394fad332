/** From a configuration to its servers, and what is told when there is no room for them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { HostReport } from '../../../../src/actors/vllm/host-messages.ts';
import { allowProgram } from '../../../../src/bootstrap/vllm/host.ts';
import { ownHostOf } from '../../../../src/bootstrap/vllm/own-host.ts';
import {
  endpointShape,
  replicaOrder,
  type ServerPlace,
  wantedReplicas,
} from '../../../../src/bootstrap/vllm/replica-order.ts';
import { lacksRoom } from '../../../../src/bootstrap/vllm/room.ts';
import { shownReplicas, whatServersDo } from '../../../../src/bootstrap/vllm/shown-replicas.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { checkRequirements } from '../../../../src/config/requirements.ts';
import type { Config } from '../../../../src/config/schema.ts';
import { serverEnvironment } from '../../../../src/config/server-environment.ts';
import { runId } from '../../../../src/kernel/ids.ts';
import type { Member } from '../../../../src/ports/membership.ts';

const RUN = runId('run-1');
const NODE: ServerPlace = { logsDir: '/logs', listenHost: '0.0.0.0', ownHost: '10.0.0.7', folder: null };

function loaded(vllm: string, agents = '{}') {
  const folder = mkdtempSync(join(tmpdir(), 'dlgforge-order-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const configPath = join(folder, 'config.yaml');
  writeFileSync(
    configPath,
    `llm: {backend: vllm_managed, agents: ${agents}, vllm: {model: org/model, ${vllm}}}`,
  );
  return loadConfig({ configPath, env: {} });
}

const config = (vllm: string, agents?: string): Config => loaded(vllm, agents).config;

const order = (vllm: string, place: Partial<ServerPlace> = {}, environment = {}) =>
  replicaOrder({ config: config(vllm), environment, runId: RUN, index: 1, place: { ...NODE, ...place } });

test('a server is what the configuration says, and nothing secret is among its arguments', () => {
  const { server, gpuCount, models, keyVariable } = order(
    'served_model_name: m, num_gpus_per_replica: 1.5, extra_args: [--dtype, half], env: {A: b}',
    {},
    { VLLM_API_KEY: 'the-key-of-the-servers' },
  );
  expect(server).toMatchObject({
    name: 'run-1/1',
    program: 'vllm',
    env: { A: 'b' },
    logPath: '/logs/vllm-1.log',
    keep: false,
  });
  expect(server.args.join(' ')).toMatch(/^serve org\/model --served-model-name m .* --dtype half$/);
  expect({ gpuCount, models, keyVariable }).toEqual({
    gpuCount: 2,
    models: ['m'],
    keyVariable: 'VLLM_API_KEY',
  });
  expect(JSON.stringify(server)).not.toContain('the-key-of-the-servers');
});

test('H9 each replica is reached at the address of its own node; an old 127.0.0.1 counts on one machine only', () => {
  expect(order('').baseUrl(18_000)).toBe('http://10.0.0.7:18000/v1');
  expect(order('advertise_host: 127.0.0.1').baseUrl(18_000)).toBe('http://10.0.0.7:18000/v1');
  expect(order('advertise_host: gpu.example').baseUrl(1)).toBe('http://gpu.example:1/v1');
  expect(order('', { listenHost: '192.168.1.5' }).baseUrl(1)).toBe('http://192.168.1.5:1/v1');
  expect(order('', { ownHost: '127.0.0.1' }).baseUrl(1)).toBe('http://127.0.0.1:1/v1');
  expect(order('', { ownHost: 'fd00::7' }).baseUrl(1)).toBe('http://[fd00::7]:1/v1');
});

test('H9 a node finds its address on the way to the servers of the cluster', async () => {
  expect(await ownHostOf({ natsUrls: ['nats://127.0.0.1:4222'] })).toBe('127.0.0.1');
  expect(await ownHostOf({ natsUrls: ['nats://localhost'] })).toBe('127.0.0.1');
});

test('H10 every role without a model asks for the served one; a role with a service of its own is left alone', () => {
  const roles = ['user', 'assistant', 'judge'] as const;
  const shape = endpointShape(config('served_model_name: m', '{judge: {provider: gemini, model: g}}'), roles);
  expect(shape).toEqual({ model: null, maxInFlight: 128, roles: ['user', 'assistant'] });
  const named = config('served_model_name: m', '{user: {model: adapter}}');
  expect(replicaOrder({ config: named, environment: {}, runId: RUN, index: 0, place: NODE }).models).toEqual([
    'm',
    'adapter',
  ]);
  expect(endpointShape(config('max_num_seqs: 8'), roles).maxInFlight).toBe(64);
  expect(endpointShape(config('max_in_flight: 5'), roles).maxInFlight).toBe(5);
});

const host = (node: string, gpus: HostReport['gpus']): HostReport => ({
  node,
  gpus,
  gpuTrouble: null,
  isLeaving: false,
  replicas: [],
  kept: [],
});

test('where there is no room a table says what there is', () => {
  const wanted = wantedReplicas(
    config('replicas: 3, num_gpus_per_replica: 2, tensor_parallel_size: 2'),
    RUN,
    null,
  );
  const gpu = (index: number, usedBy: string | null = null) => ({
    index,
    freeMb: 23_552,
    totalMb: 24_576,
    usedBy,
  });
  const two = [host('a', [gpu(0), gpu(1), gpu(2)]), host('b', [gpu(0), gpu(1, 'replica 0 of x')])];
  expect(lacksRoom(wanted, two)?.message).toBe(
    [
      'There are not enough free GPUs for 3 servers with 2 GPUs each (llm.vllm.replicas, llm.vllm.num_gpus_per_replica). There are:',
      '  node  GPUs  free  free memory of each',
      '  a     3     3     0: 23.0 of 24.0 GB, 1: 23.0 of 24.0 GB, 2: 23.0 of 24.0 GB',
      '  b     2     1     0: 23.0 of 24.0 GB, 1: 23.0 of 24.0 GB (replica 0 of x)',
      'Lower one of the two, free GPUs, or add a node with GPUs. On a machine without GPUs a CPU build of vLLM runs with llm.vllm.num_gpus_per_replica: 0.',
    ].join('\n'),
  );
  expect(lacksRoom({ ...wanted, count: 1 }, two)).toBeNull();
  const broken = { ...host('c', []), gpuTrouble: 'nvidia-smi failed: Driver/library version mismatch' };
  expect(lacksRoom(wanted, [broken])?.message).toContain(
    '\n  c     0     0     -\n  c: nvidia-smi failed: Driver/library version mismatch\n',
  );
  expect(lacksRoom(wanted, [])?.message).toContain('No node of the cluster starts model servers');
  expect(lacksRoom({ ...wanted, gpusPerReplica: 0 }, two)).toBeNull();
});

test('requirements name what could not start', () => {
  const problems = (vllm: string): string =>
    checkRequirements(loaded(vllm), 'run')
      .problems.map(({ message }) => message)
      .join('\n');
  expect(problems('tensor_parallel_size: 2')).toContain('more GPUs than a server has');
  expect(problems('tensor_parallel_size: 2, num_gpus_per_replica: 2')).toBe('');
  expect(problems('extra_args: [--api-key, abc]')).toContain('--api-key');
});

test('a server inherits what it needs, and no secret of anybody else', () => {
  const environment = {
    PATH: '/bin',
    HF_TOKEN: 'hf',
    VLLM_API_KEY: 'v',
    OPENAI_API_KEY: 'sk-1',
    MY_PROVIDER: 'sk-2',
    DATABASE_URL: 'postgres://me:secret@db/x',
    HTTPS_PROXY: 'http://me:secret@proxy:1',
    CUDA_HOME: '/cuda',
  };
  expect(Object.keys(serverEnvironment(environment, ['sk-2']))).toEqual([
    'PATH',
    'HF_TOKEN',
    'VLLM_API_KEY',
    'HTTPS_PROXY',
    'CUDA_HOME',
  ]);
});

test('I10 a node with a list of programs starts no other', () => {
  expect(() => allowProgram({}, '/anything')).not.toThrow();
  expect(() => allowProgram({ DLGFORGE_VLLM_COMMANDS: 'vllm, other' }, 'other')).not.toThrow();
  expect(() => allowProgram({ DLGFORGE_VLLM_COMMANDS: 'vllm' }, '/bin/sh')).toThrow(
    /does not start \/bin\/sh/,
  );
  expect(() => allowProgram({ DLGFORGE_VLLM_COMMANDS: '' }, 'vllm')).toThrow(/lists nothing/);
});

test('a person who waits is told what each server does, until one serves', () => {
  const replica = (index: number, state: 'starting' | 'serving', text: string) => ({
    runId: RUN,
    index,
    state,
    text,
    gpus: [],
    baseUrl: null,
    keyVariable: null,
  });
  const members = (status: Record<string, unknown>) => ({
    members: () => [{ card: { node: 'a', status } }] as unknown as Member[],
  });
  const both = [replica(1, 'starting', 'loading the weights\nmore'), replica(0, 'starting', 'starting')];
  expect(whatServersDo(members({ replicas: shownReplicas(both) }), RUN)).toBe(
    'replica 0 on a: starting; replica 1 on a: loading the weights',
  );
  expect(
    whatServersDo(members({ replicas: shownReplicas([...both, replica(2, 'serving', '')]) }), RUN),
  ).toBeNull();
  expect(whatServersDo(members({ replicas: 'nonsense' }), RUN)).toBeNull();
});
