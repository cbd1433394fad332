/** Projects whose models are servers that dlgforge starts: the stand-in for `vllm`, and what it leaves behind. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CliProject, type Finished, makeProject, type Running } from './cli-project.ts';
import { processesOf } from './cluster-processes.ts';
import { STAND_IN } from './vllm-lab.ts';
import type { BehaviourInput, StandInStart } from './vllm-stand-in/behaviour.ts';

export interface ManagedOptions {
  readonly vllm?: Readonly<Record<string, unknown>>;
  readonly run?: Readonly<Record<string, unknown>>;
  readonly agents?: Readonly<Record<string, unknown>>;
  readonly behaviour?: BehaviourInput;
}

export interface ManagedProject {
  readonly project: CliProject;
  /** The first that its servers take. */
  readonly port: number;
  /** Of the stand-in. */
  readonly folder: string;
  /** A folder for the PATH whose nvidia-smi finds so many GPUs. */
  gpus(count: number): string;
  /** Instead of what it was made with. */
  behave(behaviour: BehaviourInput): void;
  start(args?: readonly string[], env?: Readonly<Record<string, string>>): Running;
  run(args?: readonly string[], env?: Readonly<Record<string, string>>): Promise<Finished>;
  /** Starts of servers, in order. */
  starts(): readonly StandInStart[];
  /** Conversations in the output, by file line. */
  rows(): Promise<number>;
  /** Processes of servers, engines and guardians that are left. */
  left(): readonly number[];
  log(replica: number): string;
  runLog(): string;
  [Symbol.asyncDispose](): Promise<void>;
}

export const SAMPLES = 4;

/** Puts an nvidia-smi that finds so many into `bin`, a folder for the PATH, and gives that back. */
export function machineWithGpus(bin: string, count: number): string {
  mkdirSync(bin, { recursive: true });
  const lines = Array.from({ length: count }, (_, index) => `echo ${index}, Some GPU, 20000, 24000`);
  writeFileSync(join(bin, 'nvidia-smi'), ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
  return bin;
}

/** Ports of its own for each test, so that tests can run side by side. */
let nextPort = 18_400;

export async function managedProject({
  vllm = {},
  run = {},
  agents = {},
  behaviour = {},
}: ManagedOptions): Promise<ManagedProject> {
  const port = nextPort;
  nextPort += 20;
  const project = await makeProject({
    run: { total_samples: SAMPLES, batch_size: SAMPLES, turns: { mode: 'exact', exact: 2 }, ...run },
    llm: {
      backend: 'vllm_managed',
      agents,
      vllm: {
        model: 'example/tiny',
        served_model_name: 'tiny',
        num_gpus_per_replica: 0,
        command: STAND_IN,
        port_start: port,
        ...vllm,
      },
    },
    judge: { mode: 'online' },
  });
  const folder = join(project.folder, 'stand-in');
  const environment = {
    STAND_IN_FOLDER: folder,
    STAND_IN_BEHAVIOUR: JSON.stringify(behaviour),
    OPENAI_API_KEY: 'sk-of-the-provider-0123456789',
  };
  const args = ['run', 'config.yaml', '--run-id', 'managed'];
  const start = (more: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Running =>
    project.start([...args, ...more], { ...environment, ...env });
  return {
    project,
    port,
    folder,
    gpus: (count) => machineWithGpus(join(project.folder, 'bin'), count),
    behave(told) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'behaviour.json'), JSON.stringify(told));
    },
    start,
    run: (more, env) => start(more, env).finished,
    starts() {
      const file = join(folder, 'starts.jsonl');
      if (!existsSync(file)) return [];
      const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
      return lines.map((line) => JSON.parse(line) as StandInStart);
    },
    async rows() {
      const files = await project.files();
      return (files.get('synthetic_qa.jsonl') ?? '').split('\n').filter(Boolean).length;
    },
    left: () =>
      processesOf(project.folder).filter((pid) => {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return /vllm-stand-in|guardian/.test(command);
      }),
    log(replica) {
      const logs = join(project.folder, 'logs');
      const name = readdirSync(logs).find((file) => file === `vllm-${replica}.log`);
      return name === undefined ? '' : readFileSync(join(logs, name), 'utf8');
    },
    runLog: () => readFileSync(join(project.folder, 'logs', 'run.log'), 'utf8'),
    [Symbol.asyncDispose]: () => project[Symbol.asyncDispose](),
  };
}
