/** Stand-in servers of a test: orders for them, their processes, and nothing left at the end. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../../src/kernel/logger.ts';
import { isSameProcess, processEntry } from '../../src/llm/vllm/process-table.ts';
import { vllmProcesses } from '../../src/llm/vllm/server-processes.ts';
import type { ServerOrder, ServerProcesses } from '../../src/ports/server-process.ts';
import { startProcess, type TestProcess, waitFor } from './processes.ts';
import type { BehaviourInput } from './vllm-stand-in/behaviour.ts';

export const STAND_IN = join(import.meta.dirname, 'vllm-stand-in', 'vllm');

export interface VllmLab {
  readonly folder: string;
  readonly stateDir: string;
  readonly processes: ServerProcesses;
  order(
    name: string,
    portStart: number,
    behaviour?: BehaviourInput,
    changes?: Partial<ServerOrder>,
  ): ServerOrder;
  /** A process that starts servers, and who belongs to each of them once all answer. */
  starter(orders: readonly ServerOrder[]): Promise<{
    readonly process: TestProcess;
    readonly families: ReadonlyMap<string, Family>;
  }>;
  /** Every process that belongs to a server or guards one. */
  living(): readonly number[];
  /** Kills what is left and removes the folder. */
  end(): void;
}

export interface Family {
  readonly api: number;
  readonly engine: number;
  readonly guardians: readonly number[];
}

export function vllmLab(): VllmLab {
  const folder = mkdtempSync(join(tmpdir(), 'dlgforge-vllm-'));
  const stateDir = join(folder, 'state');
  mkdirSync(stateDir);
  const starters: TestProcess[] = [];
  const living = (): readonly number[] => pidsThatName(folder);
  return {
    folder,
    stateDir,
    processes: vllmProcesses({ stateDir, logger: silentLogger, environment: process.env }),
    order: (name, portStart, behaviour = {}, changes = {}) => ({
      name,
      program: STAND_IN,
      args: ['serve', 'model', '--served-model-name', 'served', '--max-num-seqs', '8'],
      env: { STAND_IN_BEHAVIOUR: JSON.stringify(behaviour), STAND_IN_FOLDER: join(folder, name) },
      gpus: null,
      address: { host: '127.0.0.1', portStart },
      logPath: join(folder, 'logs', `${name}.log`),
      keep: false,
      ...changes,
    }),
    async starter(orders) {
      const started = startProcess('vllm-starter.ts', [stateDir, JSON.stringify(orders)]);
      starters.push(started);
      const families = await Promise.all(
        orders.map(async ({ name }) => {
          const line = await started.line(new RegExp(`"name":"${name}","pid"`));
          const { pid, port } = JSON.parse(line) as { readonly pid: number; readonly port: number };
          await started.line(new RegExp(`"name":"${name}","phase"`));
          return [name, await familyOf(pid, port, stateDir)] as const;
        }),
      );
      return { process: started, families: new Map(families) };
    },
    living,
    end() {
      for (const { child } of starters) child.kill('SIGKILL');
      for (const pid of living()) process.kill(pid, 'SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Of a server of this process or another one, once it answers. */
export async function familyOf(api: number, port: number, stateDir: string): Promise<Family> {
  const told = await answerOf(`http://127.0.0.1:${port}/stand-in`, 20_000);
  const { engine } = told as { readonly engine: number };
  return { api, engine, guardians: pidsOfGuardians(api, stateDir) };
}

export async function answerOf(url: string, timeoutMs: number): Promise<unknown> {
  const endMs = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await (await fetch(url)).json();
    } catch (error) {
      if (Date.now() > endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

/** How long it takes until none of `pids` is left. */
export async function goneMs(pids: readonly number[], timeoutMs: number): Promise<number> {
  const startMs = performance.now();
  const known = pids.map((pid) => ({ pid, startKey: processEntry(pid)?.startKey ?? '' }));
  const left = (): readonly number[] =>
    known.filter(({ pid, startKey }) => isSameProcess(pid, startKey)).map(({ pid }) => pid);
  await waitFor(
    () => (left().length === 0 ? true : undefined),
    timeoutMs,
    () => `still there: ${left().map(describe).join('; ')}`,
  );
  return Math.round(performance.now() - startMs);
}

function describe(pid: number): string {
  return `${pid} ${readProc(pid, 'cmdline').replaceAll('\0', ' ')}`;
}

/** By the record that they are to read; its file has the server's pid. */
function pidsOfGuardians(api: number, stateDir: string): readonly number[] {
  const folder = join(stateDir, 'vllm-servers');
  const record = readdirSync(folder)
    .map((name) => join(folder, name))
    .find((path) => {
      const { program } = JSON.parse(readFileSync(path, 'utf8')) as {
        readonly program: { pid: number } | null;
      };
      return program?.pid === api;
    });
  return pidsThatName(record ?? 'no record').toSorted((a, b) => a - b);
}

/** Processes with `text` in their command line or environment, this one apart. */
function pidsThatName(text: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => processEntry(pid) !== null)
    .filter((pid) => readProc(pid, 'cmdline').includes(text) || readProc(pid, 'environ').includes(text));
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    // It has ended between two looks.
    return '';
  }
}
