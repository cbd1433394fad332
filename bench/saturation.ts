/**
 * How full a run keeps an endpoint: 64 slots, lognormal latency, long and short conversations.
 *
 *   npm run bench -- saturation [conversations] [scale]
 *
 * achieved / bound, where bound = max(total work / slots, longest conversation) and work is the service
 * time that the server drew for each call. Latencies are scaled down (20 by default); a machine that cannot
 * make the calls that fast is measured too, so the load of the processors is printed beside.
 *
 * The lock-step figure is the same work in waves, turn by turn, as 0.1.0 did it, computed from the same draws.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../src/kernel/logger.ts';
import { openStore } from '../src/store/open-store.ts';
import { benchProject } from './support/bench-project.ts';
import { startRehearsalProcess } from './support/rehearsal-process.ts';

const SLOTS = 64;
const CONVERSATIONS = Number(process.argv[2] ?? 512);
const SCALE = Number(process.argv[3] ?? 20);
/** Open conversations: more than slots, so that one that searches or commits leaves no slot empty. */
const OPEN = Number(process.argv[4] ?? 256);
const SECOND_MS = 1000 / SCALE;

interface Call {
  readonly purpose: string;
  readonly serviceMs: number;
}

/** Calls in the order in which they were answered, by conversation. */
async function callsOf(folder: string, serviceMs: ReadonlyMap<string, number>): Promise<Call[][]> {
  const store = await openStore({ stateDir: join(folder, '.dlgforge'), logger: silentLogger });
  const conversations: Call[][] = [];
  for (const { id } of await store.journal.list('run/bench/')) {
    const calls: Call[] = [];
    for (const { event } of await store.journal.read(id)) {
      const { type, purpose, answer } = event as {
        type: string;
        purpose: string;
        answer?: { raw: { id: string } };
      };
      if (type !== 'ModelAnswered' || answer === undefined) continue;
      calls.push({ purpose, serviceMs: serviceMs.get(answer.raw.id.replace('chatcmpl-', '')) ?? 0 });
    }
    conversations.push(calls);
  }
  await store.close();
  return conversations;
}

interface Served {
  readonly serviceMs: ReadonlyMap<string, number>;
  /** From the first request to the last answer. */
  readonly busyMs: number;
}

async function servedBy(logFile: string): Promise<Served> {
  const times = new Map<string, number>();
  let first = Infinity;
  let last = 0;
  for (const line of (await readFile(logFile, 'utf8')).split('\n')) {
    if (line === '') continue;
    const entry = JSON.parse(line) as { event: string; key: string; at_ms: number; service_ms?: number };
    first = Math.min(first, entry.at_ms);
    last = Math.max(last, entry.at_ms);
    if (entry.event === 'completion' && entry.service_ms !== undefined)
      times.set(entry.key, entry.service_ms);
  }
  return { serviceMs: times, busyMs: last - first };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** The wall time of the same calls in waves: all questions of a turn, then all answers with their verdicts. */
function lockStepMs(conversations: readonly Call[][]): number {
  let total = 0;
  for (let first = 0; first < conversations.length; first += SLOTS) {
    const turns = conversations.slice(first, first + SLOTS).map(turnsOf);
    for (let turn = 0; turn < Math.max(...turns.map((own) => own.length)); turn += 1) {
      const active = turns.map((own) => own[turn]).filter((own) => own !== undefined);
      total +=
        Math.max(...active.map((own) => own.questionMs)) + Math.max(...active.map((own) => own.restMs));
    }
  }
  return total;
}

function turnsOf(calls: readonly Call[]): { questionMs: number; restMs: number }[] {
  const turns: { questionMs: number; restMs: number }[] = [];
  for (const { purpose, serviceMs } of calls) {
    if (purpose === 'question') turns.push({ questionMs: serviceMs, restMs: 0 });
    const turn = turns.at(-1);
    if (purpose !== 'question' && turn !== undefined) turn.restMs += serviceMs;
  }
  return turns;
}

const folder = await mkdtemp(join(tmpdir(), 'dlgforge-saturation-'));
const logFile = join(folder, 'calls.jsonl');
const rehearsal = await startRehearsalProcess({
  seed: 3,
  capacity: SLOTS,
  second_round_rate: 0,
  parallel_calls_rate: 0,
  latency: {
    distribution: 'lognormal',
    sigma: 0.8,
    mean_ms: SECOND_MS,
    per_role: {
      user: 1.2 * SECOND_MS,
      assistant_tools: SECOND_MS,
      assistant: 2.5 * SECOND_MS,
      judge: SECOND_MS,
    },
  },
  logFile,
});
const project = await benchProject(rehearsal.url, {
  run: {
    run_id: 'bench',
    total_samples: CONVERSATIONS,
    batch_size: OPEN,
    turns: { mode: 'range', min: 2, max: 12, distribution: 'poisson', mean: 6 },
  },
  llm: { max_in_flight: SLOTS },
});
let startedMs = 0;
let cpuStart = process.cpuUsage();
const report = await project.run(() => {
  startedMs = performance.now();
  cpuStart = process.cpuUsage();
});
const wallMs = performance.now() - startedMs;
const cpu = process.cpuUsage(cpuStart);
const served = await servedBy(logFile);
const conversations = await callsOf(project.folder, served.serviceMs);
const perConversation = conversations.map((calls) => sum(calls.map((call) => call.serviceMs)));
const boundMs = Math.max(sum(perConversation) / SLOTS, ...perConversation);
const lockStep = lockStepMs(conversations);
await project.remove();
await rehearsal.close();
await rm(folder, { recursive: true });

const line = (text: string): boolean => process.stdout.write(`${text}\n`);
line(
  `${report.conversations} conversations, ${report.turns} turns, ${report.calls} calls, latency / ${SCALE}, ${SLOTS} slots, ${OPEN} open`,
);
line(
  `bound ${(boundMs / 1000).toFixed(1)} s (work / slots ${(sum(perConversation) / SLOTS / 1000).toFixed(1)} s, longest conversation ${(Math.max(...perConversation) / 1000).toFixed(1)} s)`,
);
line(
  `first request to last answer ${(served.busyMs / 1000).toFixed(1)} s; achieved / bound = ${(boundMs / served.busyMs).toFixed(3)} (goal ≥ 0.95)`,
);
line(
  `with start and end (commits, files, summary), which do not scale with the latency: ${(wallMs / 1000).toFixed(1)} s, ${(boundMs / wallMs).toFixed(3)}`,
);
line(
  `lock-step with the same draws ${(lockStep / 1000).toFixed(1)} s; achieved / bound = ${(boundMs / lockStep).toFixed(3)}`,
);
line(
  `endpoint saturation as the summary says: ${report.endpoints.map((endpoint) => endpoint.saturation.toFixed(3)).join(', ')}`,
);
line(
  `orchestrator CPU ${((cpu.user + cpu.system) / 1000 / report.turns).toFixed(1)} ms per turn, ${((cpu.user + cpu.system) / 1000 / wallMs).toFixed(2)} of ${cpus().length} cores; load average ${loadavg()[0]?.toFixed(1)}`,
);
