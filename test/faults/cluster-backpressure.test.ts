/**
 * I9 on real processes: while a node, the database, the disk or a person makes a run wait, the rest waits too, says
 * why, and does not grow; then it goes on. One run goes through all of it.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Finished, Running } from '../support/cli-project.ts';
import { brokenPromises } from '../support/cluster-checker.ts';
import { factsOf } from '../support/cluster-facts.ts';
import { type ClusterLab, type LabAgent, startLab } from '../support/cluster-lab.ts';
import { isRunning } from '../support/cluster-processes.ts';

const RUN = 'waits';
const SAMPLES = 60;
const MAX_IN_FLIGHT = 6;
const OFF_MS = 15_000;
/** Of one process; a garbage collector may take its time. */
const GROWTH_MB_MAX = 80;
const CAN_FILL_A_DISK = process.platform === 'linux' && process.getuid?.() === 0 && canMount();
if (!CAN_FILL_A_DISK)
  process.stdout.write('cluster-backpressure: no full disk, file systems cannot be mounted here\n');

let lab: ClusterLab;
let run: Running;
let said = '';
const agents: LabAgent[] = [];

beforeAll(async () => {
  lab = await startLab({
    rehearsal: { seed: 3, latency: { distribution: 'lognormal', mean_ms: 500 } },
    config: (endpoint) => ({
      run: {
        run_id: RUN,
        total_samples: SAMPLES,
        batch_size: 12,
        turns: { mode: 'exact', exact: 2 },
        distributed: { enabled: true, spawn: { coordinator: false, workers: false } },
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
      judge: { mode: 'online' },
    }),
  });
  for (const _ of [1, 2]) agents.push(await lab.startAgent());
  if (CAN_FILL_A_DISK) {
    execFileSync('mkdir', ['-p', outputs()]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'dlgforge-test', outputs()]);
  }
  run = lab.start(['run', 'config.yaml', '--json']);
  run.child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
});

afterAll(async () => {
  for (const agent of agents) agent.thaw();
  lab?.postgres.thaw();
  run?.child.kill('SIGKILL');
  await run?.finished;
  if (CAN_FILL_A_DISK) execFileSync('umount', ['-l', outputs()]);
  await lab?.[Symbol.asyncDispose]();
});

const outputs = (): string => join(lab.project.folder, 'outputs');
async function committed(): Promise<number> {
  const [row] = await lab.postgres.query<{ count: number }>(
    'SELECT count(*)::int AS count FROM dlgforge.conversations',
  );
  return row?.count ?? 0;
}
const goesOn = async (what: string, withinMs: number): Promise<void> => {
  const before = await committed();
  await expect.poll(committed, { timeout: withinMs, message: what }).toBeGreaterThan(before);
};
const arrivals = (): number => lab.rehearsal.stats().requests;
const runLog = (): string => logsIn(join(lab.project.folder, 'logs'));
const nodeLogs = (): string => agents.map(({ stateDir }) => logsIn(join(stateDir, 'logs'))).join('\n');

/** Megabytes of each process of the run, by number. */
function memory(): Map<number, number> {
  const pids = [run.child.pid ?? 0, ...agents.flatMap((agent) => [agent.pid, ...agent.workers()])];
  return new Map(
    pids.filter(isRunning).map((pid) => {
      const text = readFileSync(`/proc/${pid}/status`, 'utf8');
      return [pid, Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? 0) / 1024];
    }),
  );
}

/** The processes that have grown by more than they may, in words. */
function grown(before: ReadonlyMap<number, number>): string[] {
  return [...memory()].flatMap(([pid, now]) => {
    const then = before.get(pid) ?? now;
    return now - then > GROWTH_MB_MAX ? [`process ${pid} grew from ${then} to ${now} MB`] : [];
  });
}

describe('a run waits, says why, and goes on', () => {
  test('when a person has paused it', async () => {
    await expect.poll(committed, { timeout: 40_000 }).toBeGreaterThan(0);
    expect((await lab.elsewhere(['runs', 'pause', RUN]).finished).code).toBe(0);
    await expect.poll(() => said, { timeout: 10_000 }).toMatch(/paused/);
    await expect.poll(() => lab.rehearsal.stats().in_flight, { timeout: 10_000 }).toBe(0);
    const before = { calls: arrivals(), memory: memory() };
    const { stdout } = await lab.elsewhere(['cluster', 'status']).finished;
    expect(stdout).toMatch(new RegExp(`${RUN}.*paused`));
    await sleep(3_000);
    expect(arrivals(), 'nothing more is asked').toBe(before.calls);
    expect(grown(before.memory)).toEqual([]);
    expect((await lab.elsewhere(['runs', 'resume', RUN]).finished).code).toBe(0);
    await goesOn('after the pause', 15_000);
  });

  test('when a node is stopped: the others take its work, and it rejoins', async () => {
    const leader = await lab.leader();
    const stopped = agents.find((agent) => agent !== leader) as LabAgent;
    const before = memory();
    stopped.freeze();
    await expect
      .poll(runLog, { timeout: 12_000 })
      .toMatch(/worker \S+ is lost; its \d+ conversations go on elsewhere/);
    await goesOn('without it', 20_000);
    expect(grown(before)).toEqual([]);
    stopped.thaw();
    await expect
      .poll(async () => (await lab.elsewhere(['cluster', 'nodes']).finished).stdout, { timeout: 10_000 })
      .toContain(stopped.node);
  });

  test(`when the database is stopped for ${OFF_MS / 1_000} s`, async () => {
    const before = memory();
    const done = await committed();
    const calls = arrivals();
    const [heard, logged] = [said.length, nodeLogs().length];
    lab.postgres.freeze();
    try {
      await sleep(OFF_MS);
      const asked = arrivals() - calls;
      expect(asked, 'an answer that cannot be kept is not asked for').toBeLessThanOrEqual(2 * MAX_IN_FLIGHT);
      expect(nodeLogs().slice(logged)).toContain('waiting for the database');
      expect(said.slice(heard)).toContain('waiting for the database');
      expect(grown(before)).toEqual([]);
    } finally {
      lab.postgres.thaw();
    }
    await expect.poll(committed, { timeout: 10_000 }).toBeGreaterThan(done);
  });

  test.skipIf(!CAN_FILL_A_DISK)(
    'when the disk is full where its files are written: the run itself does not',
    async () => {
      const filler = join(outputs(), 'filler');
      const { bavail, bsize } = statfsSync(outputs());
      writeFileSync(filler, Buffer.alloc(bavail * bsize));
      const before = memory();
      await expect.poll(runLog, { timeout: 20_000 }).toMatch(/\[export\].*(?:ENOSPC|space)/i);
      await goesOn('with a full disk', 15_000);
      expect(grown(before)).toEqual([]);
      rmSync(filler);
    },
  );

  test('and ends right', async () => {
    lab.rehearsal.setOptions({ latency: { distribution: 'fixed', mean_ms: 5 } });
    const { code, stderr }: Finished = await run.finished;
    expect(code, stderr).toBe(0);
    const facts = await factsOf(lab.store, RUN, lab.rehearsal.log());
    expect(
      brokenPromises(facts, {
        languages: ['en'],
        samples: SAMPLES,
        maxInFlight: MAX_IN_FLIGHT,
        disruptions: 2,
      }),
    ).toEqual([]);
    const lines = (await lab.project.files()).get('conversations_index.jsonl')?.trim().split('\n');
    expect(lines).toHaveLength(SAMPLES);
  });
});

function logsIn(folder: string): string {
  const names = readdirSync(folder).filter((name) => name.endsWith('.log'));
  return names.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n');
}

/** A container may be root and still not be let. */
function canMount(): boolean {
  try {
    execFileSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'dlgforge-test', '/mnt'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
