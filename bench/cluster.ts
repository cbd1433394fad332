/**
 * What a cluster on this machine costs, and whether more nodes change the throughput of a slow endpoint.
 *
 *   npm run bench -- cluster times [repetitions]
 *   npm run bench -- cluster scale [conversations] [rounds]
 *
 * `times`: head, joined node, status and stop, from typing to the end of the command; memory and processor time
 * of idle nodes. With DLGFORGE_BENCH_PROGRAM set to the bin/dlgforge.js of an installed package, of that.
 * `scale`: the same run on 1, 2 and 4 nodes with one worker process each, at the same number of open
 * conversations, against an endpoint whose latency is the bound; and how long a call waits for its permit
 * where no permit is scarce.
 */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { median } from './support/bench-project.ts';
import { startRehearsalProcess } from './support/rehearsal-process.ts';

const run = promisify(execFile);
const OWN = fileURLToPath(new URL('../bin/dlgforge.js', import.meta.url));
const PROGRAM = process.env['DLGFORGE_BENCH_PROGRAM'] ?? OWN;
const KNOWLEDGE = fileURLToPath(new URL('../examples/quickstart/knowledge', import.meta.url));
const OPEN = 32;
const NODES = [1, 2, 4];
const IDLE_MS = 20_000;
const LATENCY_MS = 800;

const folder = await mkdtemp(join(tmpdir(), 'dlgforge-bench-cluster-'));
const environment = { ...process.env, DLGFORGE_CLUSTER_DIR: join(folder, 'clusters') };

async function dlgforge(
  ...args: readonly string[]
): Promise<{ readonly ms: number; readonly stdout: string }> {
  const startedMs = performance.now();
  const { stdout } = await run(process.execPath, [PROGRAM, ...args], { cwd: folder, env: environment });
  return { ms: performance.now() - startedMs, stdout };
}

interface Started {
  readonly ms: number;
  readonly pid: number;
  readonly metricsPort: number | null;
}

async function startNode(...args: readonly string[]): Promise<Started> {
  const { ms, stdout } = await dlgforge('cluster', 'start', '--json', ...args);
  const { pid, metricsPort } = JSON.parse(stdout) as {
    readonly pid: number;
    readonly metricsPort: number | null;
  };
  return { ms, pid, metricsPort };
}

/** Of a process and of all that it started. */
async function treeOf(pid: number): Promise<readonly number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const below = await Promise.all(
    children
      .split(' ')
      .filter(Boolean)
      .map((child) => treeOf(Number(child))),
  );
  return [pid, ...below.flat()];
}

async function pssMb(pids: readonly number[]): Promise<number> {
  const texts = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')),
  );
  return texts.reduce((sum, text) => sum + Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0), 0) / 1024;
}

async function rssMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
}

/** Ticks of a hundredth of a second. */
async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

async function serverPids(): Promise<readonly number[]> {
  const { stdout } = await run('ps', ['-eo', 'pid,args']);
  return stdout
    .split('\n')
    .filter((line) => line.includes(folder) && !line.includes('dlgforge.js') && !line.includes('cli/main'))
    .map((line) => Number(line.trim().split(' ')[0]))
    .filter((pid) => pid !== process.pid && pid > 0);
}

async function times(repetitions: number): Promise<void> {
  const head: number[] = [];
  const join_: number[] = [];
  const status: number[] = [];
  const stop: number[] = [];
  for (let round = 0; round < repetitions; round += 1) {
    const first = await startNode('--head');
    const joined = await startNode();
    head.push(first.ms);
    join_.push(joined.ms);
    for (let look = 0; look < 3; look += 1) status.push((await dlgforge('cluster', 'status', '--json')).ms);
    if (round === repetitions - 1) await memory(first.pid, joined.pid);
    stop.push((await dlgforge('cluster', 'stop', '--all')).ms);
  }
  const row = (name: string, values: readonly number[], goal: string): void =>
    console.log(
      `${name.padEnd(16)} median ${(median(values) / 1000).toFixed(2)} s, all ${values.map((ms) => (ms / 1000).toFixed(2)).join(', ')}; goal ${goal}`,
    );
  console.log(`head, first ever ${((head[0] ?? 0) / 1000).toFixed(2)} s; goal 4 s`);
  row('head', head.slice(1), '1.5 s');
  row('join', join_, '0.8 s');
  row('status', status, '0.4 s');
  row('stop', stop, '2 s');
}

async function memory(headPid: number, joinedPid: number): Promise<void> {
  await sleep(3_000);
  const before = [await cpuMs(headPid), await cpuMs(joinedPid)];
  await sleep(IDLE_MS);
  const after = [await cpuMs(headPid), await cpuMs(joinedPid)];
  const share = (index: number): string =>
    ((((after[index] ?? 0) - (before[index] ?? 0)) / IDLE_MS) * 100).toFixed(1);
  const servers = await serverPids();
  console.log(
    `head with NATS and Postgres: PSS ${(await pssMb([...(await treeOf(headPid)), ...servers])).toFixed(0)} MB (its own RSS ${(await rssMb(headPid)).toFixed(0)} MB); goal 250 MB`,
  );
  console.log(`joined node: RSS ${(await rssMb(joinedPid)).toFixed(0)} MB; goal 100 MB`);
  console.log(
    `idle for ${IDLE_MS / 1000} s: head ${share(0)} %, joined node ${share(1)} % of a core; goal 2 %`,
  );
}

async function scale(conversations: number, rounds: number): Promise<void> {
  const results = new Map<number, number[]>(NODES.map((count) => [count, []]));
  const waits: string[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const count of NODES) {
      const { callsPerSecond, wait } = await oneRun(`r${round}-${count}`, count, conversations);
      results.get(count)?.push(callsPerSecond);
      waits.push(wait);
      console.log(`round ${round + 1}, ${count} nodes: ${callsPerSecond.toFixed(1)} calls/s; ${wait}`);
    }
  }
  const one = median(results.get(1) ?? []);
  for (const [count, values] of results) {
    const middle = median(values);
    console.log(
      `${count} nodes: median ${middle.toFixed(1)} calls/s, ${(middle / one).toFixed(3)} × one node; goal within 5 %`,
    );
  }
}

async function oneRun(
  id: string,
  nodes: number,
  conversations: number,
): Promise<{ readonly callsPerSecond: number; readonly wait: string }> {
  const logFile = join(folder, `${id}.jsonl`);
  const rehearsal = await startRehearsalProcess({
    logFile,
    latency: { distribution: 'lognormal', mean_ms: LATENCY_MS, sigma: 0.4 },
  });
  const project = join(folder, id);
  await cp(KNOWLEDGE, join(project, 'knowledge'), { recursive: true });
  const role = { provider: 'hosted_vllm', model: 'rehearsal', base_url: `${rehearsal.url}/v1` };
  await writeFile(
    join(project, 'config.yaml'),
    stringify({
      run: {
        run_id: id,
        batch_size: OPEN,
        total_samples: conversations,
        turns: { mode: 'exact', exact: 2 },
        distributed: { enabled: true, spawn: { coordinator: false, workers: false } },
      },
      judge: { mode: 'online' },
      llm: {
        backend: 'openai',
        max_in_flight: 4 * OPEN,
        agents: { user: role, assistant: role, judge: role },
      },
    }),
  );
  const ports: number[] = [];
  for (let node = 0; node < nodes; node += 1) {
    const { metricsPort } = await startNode(
      ...(node === 0 ? ['--head'] : []),
      '--workers',
      '1',
      '--metrics-port',
      '0',
    );
    if (metricsPort !== null) ports.push(metricsPort);
  }
  try {
    await run(process.execPath, [PROGRAM, 'run', join(project, 'config.yaml'), '--quiet'], {
      env: environment,
    });
    const wait = waitText(await Promise.all(ports.map(scrape)));
    return { callsPerSecond: await throughput(logFile), wait };
  } finally {
    await dlgforge('cluster', 'stop', '--all');
    await rehearsal.close();
  }
}

const scrape = async (port: number): Promise<string> =>
  await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();

/** Share of the waits for a permit that were at most 1, 2 and 5 ms. */
function waitText(texts: readonly string[]): string {
  const sums = new Map<string, number>();
  for (const [, le, count] of texts
    .join('\n')
    .matchAll(/^dlgforge_permit_wait_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} (\d+)/gm)) {
    sums.set(le ?? '', (sums.get(le ?? '') ?? 0) + Number(count));
  }
  const all = sums.get('+Inf') ?? 0;
  const share = (le: string): string => (((sums.get(le) ?? 0) / all) * 100).toFixed(1);
  return `permits in ≤ 1 ms ${share('0.001')} %, ≤ 2 ms ${share('0.002')} %, ≤ 5 ms ${share('0.005')} % of ${all}`;
}

/** From the first request to the last answer. */
async function throughput(logFile: string): Promise<number> {
  let [first, last, answers] = [Number.POSITIVE_INFINITY, 0, 0];
  for (const line of (await readFile(logFile, 'utf8')).split('\n')) {
    if (line === '') continue;
    const entry = JSON.parse(line) as { event: string; at_ms: number };
    first = Math.min(first, entry.at_ms);
    last = Math.max(last, entry.at_ms);
    if (entry.event === 'completion') answers += 1;
  }
  return answers / ((last - first) / 1000);
}

const [what = 'times', ...numbers] = process.argv.slice(2);
console.log(
  `${availableParallelism()} cores, load ${loadavg()
    .map((load) => load.toFixed(1))
    .join(' ')} at the start`,
);
try {
  if (what === 'times') await times(Number(numbers[0] ?? 6));
  else await scale(Number(numbers[0] ?? 96), Number(numbers[1] ?? 3));
} finally {
  await dlgforge('cluster', 'stop', '--all').catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
}
