/**
 * A whole cluster of real processes on this machine: a NATS server, a Postgres, agents with their workers, a
 * model endpoint that writes down every request, and a project to run. Whatever it started is gone at its end,
 * also when a test fails.
 *
 * No node is a head: each is given the servers, so each may be killed.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLogger } from '../../src/kernel/logger.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import type { RehearsalOptionsInput } from '../../src/llm/rehearsal/options.ts';
import type { Store } from '../../src/ports/store.ts';
import { openStore } from '../../src/store/open-store.ts';
import { type CliProject, type Finished, makeProject, type Running, startCli } from './cli-project.ts';
import { childrenOf, isRunning, killProcessesOf, processesOf, signal } from './cluster-processes.ts';
import { startTestPostgres, type TestPostgres } from './cluster-postgres.ts';
import { startTestNats, type TestNats } from './nats-server.ts';
import { startProcess } from './processes.ts';

export interface LabAgent {
  /** In the cluster; another one in every process. */
  readonly node: string;
  readonly pid: number;
  readonly stateDir: string;
  readonly workerCount: number;
  readonly isRunning: boolean;
  /** Process ids of its workers. */
  workers(): number[];
  /** SIGKILL of the agent alone; its workers see their channel close. */
  kill(): Promise<void>;
  /** SIGKILL of the agent and its workers, as a machine that loses power. */
  killNode(): Promise<void>;
  /** SIGSTOP of the agent and its workers. */
  freeze(): void;
  thaw(): void;
  /** Resolves with its exit code, null after a signal. */
  readonly ended: Promise<number | null>;
}

export interface LabOptions {
  /** A server of the caller's, or knobs for one of the lab's own. */
  readonly rehearsal?: Rehearsal | RehearsalOptionsInput;
  readonly config: (endpoint: string) => object;
  /** More for every process of the lab. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface AgentOptions {
  /** @default 1 */
  readonly workers?: number;
  /** Null: what nvidia-smi finds. @default 0 */
  readonly gpus?: number | null;
  /** More for this process. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface ClusterLab extends AsyncDisposable {
  readonly folder: string;
  readonly rehearsal: Rehearsal;
  readonly nats: TestNats;
  readonly postgres: TestPostgres;
  readonly project: CliProject;
  readonly store: Store;
  /** What a process needs to know to be of this cluster. */
  readonly environment: Readonly<Record<string, string>>;
  startAgent(options?: AgentOptions): Promise<LabAgent>;
  /** Those that were started and are not gone. */
  agents(): readonly LabAgent[];
  /** A command in the project's folder. */
  start(args: readonly string[]): Running;
  run(args: readonly string[]): Promise<Finished>;
  /** A command from elsewhere: a folder of its own, and nothing but the environment. */
  elsewhere(args: readonly string[]): Running;
  /** The agent that holds the lease of a run, as the database has it; null when none of them does. */
  leader(): Promise<LabAgent | null>;
  /** JetStream's storage; to be called while NATS is down. */
  deleteQueue(): Promise<void>;
  /** What still runs of what this lab started. */
  leftOvers(): readonly number[];
}

const READY_MS = 30_000;

export async function startLab({
  rehearsal: given = {},
  config,
  environment: more = {},
}: LabOptions): Promise<ClusterLab> {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'dlgforge-lab-'));
  undo.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  undo.defer(() => killProcessesOf(folder));
  const rehearsal = 'close' in given ? given : await startRehearsal({ log_limit: 1_000_000, ...given });
  if (rehearsal !== given) undo.defer(() => rehearsal.close());
  const nats = await startTestNats();
  undo.defer(() => removeNats(nats));
  const postgres = await startTestPostgres(join(folder, 'database'));
  undo.defer(() => postgres.kill());
  const guardian = startProcess('cluster-guardian.ts', [folder, nats.folder]);
  undo.defer(() => guardian.kill());
  const environment = {
    DLGFORGE_CLUSTER_DIR: join(folder, 'clusters'),
    DLGFORGE_NATS_URL: nats.url,
    DLGFORGE_NATS_TOKEN: nats.token,
    DLGFORGE_POSTGRES_DSN: postgres.dsn,
    ...more,
  };
  const project = await makeProject(config(`${rehearsal.url}/v1`));
  undo.defer(() => project[Symbol.asyncDispose]());
  const store = await openStore({
    dsn: postgres.dsn,
    stateDir: join(folder, 'none'),
    poolMax: 4,
    logger: silentLogger,
  });
  undo.defer(() => store.close());
  const agents: LabAgent[] = [];
  const children: ChildProcess[] = [];
  undo.defer(() => killAll(agents, children));
  const away = join(folder, 'elsewhere');
  await mkdir(away);
  const stack = undo.move();
  return {
    folder,
    rehearsal,
    nats,
    postgres,
    project,
    store,
    environment,
    async startAgent({ workers = 1, gpus = 0, environment: more } = {}) {
      const agent = await startAgent({
        folder,
        environment: { ...environment, ...more },
        workers,
        gpus,
        cwd: away,
      });
      agents.push(agent);
      return agent;
    },
    agents: () => agents.filter((agent) => agent.isRunning),
    start(args) {
      const running = project.start(args, environment);
      children.push(running.child);
      return running;
    },
    run: (args) => project.run(args, environment),
    elsewhere(args) {
      const running = startCli(args, away, environment);
      children.push(running.child);
      return running;
    },
    async leader() {
      const [lease] = await postgres.query<{ holder: string }>(
        "SELECT holder FROM dlgforge.leases WHERE name LIKE 'dataset/%' AND holder IS NOT NULL",
      );
      const node =
        lease === undefined ? null : (JSON.parse(lease.holder) as { processKey: string }).processKey;
      return agents.find((agent) => agent.isRunning && agent.node === node) ?? null;
    },
    deleteQueue: () => rm(join(nats.folder, 'streams'), { recursive: true, force: true }),
    leftOvers: () => {
      const own = [postgres.pid, guardian.child.pid];
      return processesOf(folder).filter((pid) => !own.includes(pid));
    },
    async [Symbol.asyncDispose]() {
      await stack.disposeAsync();
    },
  };
}

async function removeNats(nats: TestNats): Promise<void> {
  signal(nats.pid, 'SIGCONT');
  await nats.remove();
}

function killAll(agents: readonly LabAgent[], children: readonly ChildProcess[]): void {
  for (const agent of agents) for (const each of [...agent.workers(), agent.pid]) signal(each, 'SIGKILL');
  for (const child of children) child.kill('SIGKILL');
}

async function startAgent(options: {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly workers: number;
  readonly gpus: number | null;
  readonly cwd: string;
}): Promise<LabAgent> {
  const stateDir = join(options.folder, 'nodes', randomBytes(4).toString('hex'));
  const args = ['cluster', 'start', '--block', '--address', String(options.environment['DLGFORGE_NATS_URL'])];
  const { child, finished } = startCli(
    [
      ...args,
      '--workers',
      String(options.workers),
      ...(options.gpus === null ? [] : ['--gpus', String(options.gpus)]),
      '--state-dir',
      stateDir,
    ],
    options.cwd,
    options.environment,
  );
  const pid = child.pid ?? 0;
  let isOver = false;
  void finished.then(() => {
    isOver = true;
  });
  const node = await nodeName(stateDir, () => isOver, finished);
  /** As they were when it was frozen or killed, too: a frozen orphan must not be forgotten. */
  let frozen: number[] = [];
  const workers = (): number[] => [...new Set([...childrenOf(pid), ...frozen.filter(isRunning)])];
  return {
    node,
    pid,
    stateDir,
    workerCount: options.workers,
    get isRunning() {
      return !isOver;
    },
    workers,
    async kill() {
      child.kill('SIGKILL');
      await finished;
    },
    async killNode() {
      const all = workers();
      for (const each of [pid, ...all]) signal(each, 'SIGKILL');
      await finished;
    },
    freeze() {
      frozen = childrenOf(pid);
      for (const each of [pid, ...frozen]) signal(each, 'SIGSTOP');
    },
    thaw() {
      for (const each of [...workers(), pid]) signal(each, 'SIGCONT');
      frozen = [];
    },
    ended: finished.then(({ code }) => code),
  };
}

/** Of the file that a node writes when it has joined. */
async function nodeName(
  stateDir: string,
  isOver: () => boolean,
  finished: Promise<Finished>,
): Promise<string> {
  const deadlineMs = Date.now() + READY_MS;
  while (Date.now() < deadlineMs) {
    const text = await readFile(join(stateDir, 'node.json'), 'utf8').catch(() => null);
    if (text !== null) return (JSON.parse(text) as { node: string }).node;
    if (isOver()) throw new Error(`an agent did not start: ${(await finished).stderr}`);
    await sleep(20);
  }
  throw new Error(`an agent is not ready after ${READY_MS} ms`);
}
