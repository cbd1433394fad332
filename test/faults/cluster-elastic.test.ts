/** Nodes come and go, terminals are closed, people look on from elsewhere: the run does not mind. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { joinAsClient } from '../../src/bootstrap/cluster/client.ts';
import { wantedFromFlags } from '../../src/bootstrap/cluster/find-cluster.ts';
import type { ClusterNode } from '../../src/bootstrap/cluster/join.ts';
import {
  type CliProject,
  filesBelow,
  type Finished,
  makeProject,
  type Running,
  withoutTimes,
} from '../support/cli-project.ts';
import { brokenPromises, differingFiles, wastedCalls } from '../support/cluster-checker.ts';
import { eventFacts, factsOf } from '../support/cluster-facts.ts';
import { type ClusterLab, type LabAgent, startLab } from '../support/cluster-lab.ts';
import { killProcessesOf, processesOf } from '../support/cluster-processes.ts';

const MAX_IN_FLIGHT = 10;
const LATENCY = { distribution: 'lognormal', mean_ms: 120, sigma: 0.6 } as const;

interface Wanted {
  readonly run: string;
  readonly samples: number;
  readonly distributed?: object | false;
  readonly more?: object;
}

/** The run brings nothing to the cluster. */
const WITH_NODES = { auto_start_local: false, spawn: { coordinator: false, workers: false } };

const configFor =
  ({ run, samples, distributed = WITH_NODES, more = {} }: Wanted) =>
  (endpoint: string) => ({
    run: {
      run_id: run,
      total_samples: samples,
      batch_size: 12,
      target_languages: ['english'],
      turns: { mode: 'range', min: 2, max: 4, mean: 3 },
      distributed:
        distributed === false
          ? { enabled: false }
          : {
              enabled: true,
              ...distributed,
            },
      ...more,
    },
    llm: {
      backend: 'openai',
      max_in_flight: MAX_IN_FLIGHT,
      agents: Object.fromEntries(
        ['user', 'assistant', 'judge'].map((role) => [
          role,
          { provider: 'hosted_vllm', model: 'rehearsal', base_url: endpoint },
        ]),
      ),
    },
  });

let lab: ClusterLab;
let observer: ClusterNode;
let projects: CliProject[] = [];

beforeAll(async () => {
  lab = await startLab({
    rehearsal: { seed: 5, latency: LATENCY },
    config: configFor({ run: 'unused', samples: 1 }),
  });
  await lab.startAgent();
  const { environment } = lab;
  observer = await joinAsClient({ wanted: wantedFromFlags({}, environment), environment, command: 'test' });
});
afterAll(async () => {
  await observer?.close();
  await lab?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  for (const { id } of await lab.store.activeRuns()) await lab.store.setRunWanted(id, 'cancel');
  await expect.poll(async () => (await lab.store.activeRuns()).length, { timeout: 30_000 }).toBe(0);
  for (const project of projects) await project[Symbol.asyncDispose]();
  projects = [];
  lab.rehearsal.reset();
  lab.rehearsal.setOptions({ latency: LATENCY, malformed_rate: 0 });
});

async function make(wanted: Wanted): Promise<CliProject> {
  const project = await makeProject(configFor(wanted)(`${lab.rehearsal.url}/v1`));
  projects.push(project);
  return project;
}

/** Starts a run that nobody looks on to. */
async function detached(wanted: Wanted): Promise<CliProject> {
  const project = await make(wanted);
  const { code, stdout, stderr } = await project.run(['run', 'config.yaml', '--detach'], lab.environment);
  expect(code, stderr).toBe(0);
  expect(stdout.trim()).toBe(wanted.run);
  return project;
}

const settledCount = async (run: string): Promise<number> =>
  (await eventFacts(lab.store, run)).filter(({ settled }) => settled !== null).length;
const untilSettled = (run: string, count: number): Promise<void> =>
  expect.poll(() => settledCount(run), { timeout: 40_000, interval: 50 }).toBeGreaterThanOrEqual(count);

/** The events that `attach --json` or `runs logs --json` printed. */
const eventsOf = ({ stdout }: Finished): { seq: number; type: string }[] =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { seq: number; type: string });

const conversationsOn = ({ node }: LabAgent): number =>
  observer.membership
    .members()
    .filter(({ card }) => card.parent === node)
    .reduce((sum, { card }) => sum + Number(card.status['conversations'] ?? 0), 0);

async function expectPromises(run: string, samples: number, disruptions: number): Promise<void> {
  const facts = await factsOf(lab.store, run, lab.rehearsal.log());
  const promised = { languages: ['english'], samples, maxInFlight: MAX_IN_FLIGHT, disruptions };
  expect(brokenPromises(facts, promised)).toEqual([]);
  if (disruptions === 0) expect(wastedCalls(facts)).toEqual([]);
}

async function expectSameFiles(folder: string, wanted: Wanted): Promise<void> {
  lab.rehearsal.setOptions({ latency: { distribution: 'fixed', mean_ms: 2 } });
  const alone = await make({ ...wanted, distributed: false });
  const finished = await alone.run(['run', 'config.yaml']);
  expect(finished.code, finished.stderr).toBe(0);
  const texts = (files: Map<string, string>) =>
    new Map([...files].map(([path, text]) => [path, withoutTimes(text)]));
  expect(differingFiles(texts(await alone.files()), texts(await filesBelow(folder)))).toEqual([]);
}

test('a run starts on one node and ends on three others: each has work at once, and a drained one loses none', async () => {
  const [first] = lab.agents();
  if (first === undefined) throw new Error('no agent');
  const samples = 150;
  lab.rehearsal.setOptions({ latency: { ...LATENCY, mean_ms: 300 } });
  await detached({ run: 'moves', samples });
  await untilSettled('moves', 3);
  const waits: number[] = [];
  for (let i = 0; i < 3; i += 1) {
    const agent = await lab.startAgent();
    const joinedAtMs = Date.now();
    await expect.poll(() => conversationsOn(agent), { timeout: 15_000, interval: 20 }).toBeGreaterThan(0);
    waits.push(Date.now() - joinedAtMs);
  }
  process.stderr.write(`a node that joins has work after ${waits.join(', ')} ms\n`);
  expect(waits.toSorted((a, b) => a - b)[1]).toBeLessThan(5_000);

  const drained = await lab.run(['cluster', 'drain', first.node]);
  expect(drained.code, drained.stderr).toBe(0);
  expect(await first.ended).toBe(0);
  expect(await settledCount('moves'), 'it is drained in the middle').toBeLessThan(samples);
  lab.rehearsal.setOptions({ latency: LATENCY });
  const attached = await lab.elsewhere(['attach', 'moves']).finished;
  expect(attached.code, attached.stderr).toBe(0);
  await expectPromises('moves', samples, 0);
});

test('the terminal is killed, and the node that leads: whoever attaches sees each event once and gets the same files', async () => {
  const wanted: Wanted = { run: 'closed', samples: 40 };
  const project = await make(wanted);
  const terminal = project.start(['run', 'config.yaml'], lab.environment);
  await untilSettled(wanted.run, 2);
  const out = join(lab.folder, 'attached', 'outputs');
  const watching = lab.elsewhere(['attach', wanted.run, '--json']);
  const writing = lab.elsewhere(['attach', wanted.run, '--output-dir', out]);
  await watching.shown('CoordinatorStarted');
  terminal.child.kill('SIGKILL');
  await (await lab.leader())?.killNode();
  const [watched, written] = await Promise.all([watching.finished, writing.finished]);
  expect(watched.code, watched.stderr).toBe(0);
  expect(written.code, written.stderr).toBe(0);
  const events = await eventFacts(lab.store, wanted.run);
  expect(eventsOf(watched).map(({ seq, type }) => `${seq} ${type}`)).toEqual(
    events.map(({ seq, type }) => `${seq} ${type}`),
  );
  expect(events.filter(({ type }) => type === 'CoordinatorStarted').length, 'it moved').toBeGreaterThan(1);
  await expectPromises(wanted.run, wanted.samples, 1);
  const exported = join(lab.folder, 'exported', 'outputs');
  const exporting = await lab.elsewhere(['export', wanted.run, '--output-dir', exported]).finished;
  expect(exporting.code, exporting.stderr).toBe(0);
  expect(differingFiles(await filesBelow(out), await filesBelow(exported))).toEqual([]);
  await expectSameFiles(out, wanted);
  await lab.startAgent();
});

describe('people', () => {
  test('pause, go on and cancel a run from elsewhere; Ctrl-C only detaches; exit codes are true', async () => {
    const project = await make({ run: 'asked', samples: 2_000 });
    const terminal = project.start(['run', 'config.yaml'], lab.environment);
    await untilSettled('asked', 2);
    const said = async (...args: string[]): Promise<Finished> => await lab.elsewhere(args).finished;

    expect((await said('runs', 'pause', 'asked')).code).toBe(0);
    const types = async (): Promise<string[]> =>
      (await eventFacts(lab.store, 'asked')).map(({ type }) => type);
    await expect.poll(types, { timeout: 10_000 }).toContain('RunPaused');
    // What was in flight is finished.
    await expect.poll(() => lab.rehearsal.stats().in_flight, { timeout: 10_000 }).toBe(0);
    await sleep(500);
    const arrivals = lab.rehearsal.log().length;
    await sleep(1_500);
    expect(lab.rehearsal.log().length, 'nothing is paid for while it is paused').toBe(arrivals);
    expect((await said('runs', 'resume', 'asked')).code).toBe(0);
    await expect.poll(() => lab.rehearsal.log().length, { timeout: 10_000 }).toBeGreaterThan(arrivals + 10);

    const looking = lab.elsewhere(['attach', 'asked']);
    await looking.shown('led by');
    looking.child.kill('SIGINT');
    expect((await looking.finished).code, 'Ctrl-C detaches').toBe(0);
    const settled = await settledCount('asked');
    await untilSettled('asked', settled + 3);

    const watching = lab.elsewhere(['attach', 'asked', '--from', 'now', '--json']);
    await watching.shown('ConversationSettled');
    expect((await said('runs', 'cancel', 'asked')).code).toBe(0);
    expect((await watching.finished).code).toBe(130);
    expect((await terminal.finished).code).toBe(130);
    expect((await said('attach', 'asked')).code, 'also when it is over already').toBe(130);
    expect(JSON.parse((await said('runs', 'show', 'asked', '--json')).stdout)).toMatchObject({
      status: 'cancelled',
    });
    const logged = await said('runs', 'logs', 'asked', '--json');
    expect(eventsOf(logged).map(({ seq }) => seq)).toEqual(
      (await eventFacts(lab.store, 'asked')).map(({ seq }) => seq),
    );
  });

  test('a run that fails says 1, there and elsewhere', async () => {
    lab.rehearsal.setOptions({ malformed_rate: 1 });
    const project = await make({ run: 'fails', samples: 5, more: { max_consecutive_drops: 1 } });
    const terminal = project.start(['run', 'config.yaml'], lab.environment);
    expect((await terminal.finished).code).toBe(1);
    expect((await lab.elsewhere(['attach', 'fails']).finished).code).toBe(1);
  });
});

test('auto_start_local: whoever started the run is killed, the run goes on, and the cluster ends with it', async () => {
  const wanted: Wanted = {
    run: 'local',
    samples: 30,
    distributed: { auto_start_local: true, replicas_qa: 1, replicas_complete: 1 },
  };
  const project = await make(wanted);
  const environment = { DLGFORGE_CLUSTER_DIR: join(project.folder, 'clusters') };
  await mkdir(environment.DLGFORGE_CLUSTER_DIR);
  try {
    const starter: Running = project.start(['run', 'config.yaml'], environment);
    await starter.shown('led by');
    starter.child.kill('SIGKILL');
    await starter.finished;
    const out = join(project.folder, 'attached', 'outputs');
    const attached = await project.run(['attach', wanted.run, '--output-dir', out], environment);
    expect(attached.code, attached.stderr).toBe(0);
    await expectSameFiles(out, wanted);
    await expect
      .poll(() => processesOf(project.folder), {
        timeout: 20_000,
        message: 'its processes end by themselves',
      })
      .toEqual([]);
  } finally {
    killProcessesOf(project.folder);
  }
});
