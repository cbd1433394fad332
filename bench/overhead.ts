/**
 * CPU of the orchestrator per turn, against a loop that only makes the same HTTP calls through the same SDK.
 * The endpoint answers at once and lives in another process; Postgres is a process of its own as well.
 *
 *   npm run bench overhead            (3 repetitions)
 */
import OpenAI from 'openai';
import { Agent, fetch as undiciFetch } from 'undici';
import type { ModelRequest } from '../src/dialogue/chat.ts';
import { answerOutput, judgeOutput, questionOutput } from '../src/dialogue/outputs.ts';
import { messagesOf, type StoredRequest } from '../src/dialogue/stored-request.ts';
import { toolSpecs } from '../src/dialogue/tools.ts';
import { silentLogger } from '../src/kernel/logger.ts';
import { requestBody } from '../src/llm/request-body.ts';
import { openStore } from '../src/store/open-store.ts';
import { join } from 'node:path';
import { benchProject, median } from './support/bench-project.ts';
import { startRehearsalProcess } from './support/rehearsal-process.ts';

const CONVERSATIONS = 400;
/** Both sides are measured warm: a run lasts for hours, compiling its code takes seconds. */
const WARM_UP_CONVERSATIONS = 100;
const CONCURRENCY = 32;
const REPETITIONS = Number(process.argv[2] ?? 3);
const ROLE = {
  provider: '',
  model: 'rehearsal',
  temperature: null,
  maxTokens: null,
  topP: null,
  timeoutMs: null,
  maxRetries: null,
  extra: {},
};

interface Measured {
  readonly cpuMs: number;
  readonly turns: number;
  readonly bodies: readonly Record<string, unknown>[];
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

async function orchestrated(url: string, conversations: number): Promise<Measured> {
  const project = await benchProject(url, {
    run: {
      run_id: 'bench',
      total_samples: conversations,
      batch_size: CONCURRENCY,
      turns: { mode: 'range', min: 2, max: 6 },
    },
    llm: { max_in_flight: CONCURRENCY },
  });
  let startedMs = 0;
  const report = await project.run(() => {
    startedMs = cpuMs();
  });
  const spent = cpuMs() - startedMs;
  const bodies = await bodiesOf(project.folder);
  await project.remove();
  return { cpuMs: spent, turns: report.turns, bodies };
}

/** Every request of the run, as it went over the wire. */
async function bodiesOf(folder: string): Promise<Record<string, unknown>[]> {
  const store = await openStore({ stateDir: join(folder, '.dlgforge'), logger: silentLogger });
  const bodies: Record<string, unknown>[] = [];
  for (const { id } of await store.journal.list('run/bench/')) {
    const requests = new Map<number, StoredRequest>();
    for (const { seq, event } of await store.journal.read(id)) {
      const { type, request } = event as { readonly type: string; readonly request?: StoredRequest };
      if (type !== 'RequestSent' || request === undefined) continue;
      requests.set(seq, request);
      bodies.push(bodyOf(request, (place) => requests.get(place)));
    }
  }
  await store.close();
  return bodies;
}

const OUTPUTS = [questionOutput, answerOutput, judgeOutput(['other'])];

function bodyOf(
  stored: StoredRequest,
  requestAt: (seq: number) => StoredRequest | undefined,
): Record<string, unknown> {
  const request: ModelRequest = {
    role: stored.role,
    messages: messagesOf(stored, requestAt),
    tools: toolSpecs({ webSearch: false }).filter((tool) => stored.tools.includes(tool.name)),
    output: OUTPUTS.find(({ spec }) => spec.name === stored.output)?.spec ?? questionOutput.spec,
  };
  return requestBody(request, ROLE, {
    model: 'rehearsal',
    format: 'json_schema',
    maxTokensField: 'max_tokens',
  });
}

async function bareCalls(url: string, bodies: readonly Record<string, unknown>[]): Promise<number> {
  const dispatcher = new Agent({ connections: CONCURRENCY });
  const fetch = (input: string, init: object) => undiciFetch(input, { ...init, dispatcher });
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, fetch: fetch as never });
  const startedMs = cpuMs();
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let body = bodies[next]; body !== undefined; body = bodies[next]) {
      next += 1;
      await client.chat.completions.create(body as never);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, lane));
  const spent = cpuMs() - startedMs;
  await dispatcher.close();
  return spent;
}

const rehearsal = await startRehearsalProcess({ seed: 1, latency: { distribution: 'fixed', mean_ms: 0 } });
const ratios: number[] = [];
const warmUp = await orchestrated(rehearsal.url, WARM_UP_CONVERSATIONS);
await bareCalls(rehearsal.url, warmUp.bodies);
for (let repetition = 0; repetition < REPETITIONS; repetition += 1) {
  const run = await orchestrated(rehearsal.url, CONVERSATIONS);
  const bareMs = await bareCalls(rehearsal.url, run.bodies);
  const ratio = run.cpuMs / bareMs;
  ratios.push(ratio);
  process.stdout.write(
    `turns ${run.turns}, calls ${run.bodies.length}: orchestrator ${(run.cpuMs / run.turns).toFixed(2)} ms CPU per turn, bare SDK ${(bareMs / run.turns).toFixed(2)} ms, ratio ${ratio.toFixed(2)}\n`,
  );
}
process.stdout.write(`median ratio ${median(ratios).toFixed(2)} (goal ≤ 2.0)\n`);
await rehearsal.close();
