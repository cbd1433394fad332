/** Passes through a provider's batches: over the memory store, with the real rehearsal behind the real client. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openParts } from '../../src/actors/judging/batch/batch-record.ts';
import {
  type BatchCounts,
  type BatchedPassOptions,
  endBatches,
  runBatchedPass,
} from '../../src/actors/judging/batch/run-batched-pass.ts';
import type { PassEnd } from '../../src/actors/judging/run-judge-pass.ts';
import { Looks } from '../../src/bootstrap/judge/judge-batches.ts';
import { planned, unitsOf } from '../../src/bootstrap/judge/judge-plan.ts';
import { candidates } from '../../src/bootstrap/judge/judged-conversations.ts';
import { judgePassOf } from '../../src/dialogue/judge-pass.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/logger.ts';
import { createBatchPort } from '../../src/llm/batch/openai-batches.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { noKey } from '../../src/llm/settings.ts';
import type { BatchPort } from '../../src/ports/batch.ts';
import type { LeaseGrant } from '../../src/ports/store.ts';
import type { StoredVerdict } from '../../src/ports/verdicts.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { DATASET, dialogueOf, startWorld } from '../support/world.ts';

const { prompts } = dialogueOf({});
const PASS = judgePassOf(prompts, 'turn', 'rehearsal');
const source = () => ({ store, datasetId: DATASET, outputDir: '/nowhere', onSkipped: () => undefined });

let rehearsal: Rehearsal;
let store: MemoryStore;
let turns = 0;
beforeEach(async () => {
  rehearsal = await startRehearsal({ seed: 3, log_limit: 100_000 });
  store = new MemoryStore();
  const world = await startWorld({ store, url: rehearsal.url, totalSamples: 4, settings: { judge: null } });
  expect(await world.end).toEqual({ type: 'completed' });
  await world.close();
  rehearsal.reset();
  turns = 0;
  for await (const { payload } of candidates(source())) turns += payload.turns.length;
});
afterEach(() => rehearsal.close());

async function lease(): Promise<LeaseGrant> {
  const holder = { host: 'test', pid: 2, processKey: 'judge', command: 'judge', sinceMs: 0 };
  const result = await store.acquireLease('dataset/D', holder, 1_000, () => false);
  if (result.type !== 'granted') throw new Error('the dataset is held');
  return result.lease;
}

const newPort = (name = 'the judge'): BatchPort =>
  createBatchPort({
    endpoint: {
      name,
      provider: 'rehearsal',
      baseUrl: `${rehearsal.url}/v1`,
      roles: ['judge'],
      weight: 1,
      maxInFlight: 4,
      timeoutMs: null,
      model: null,
      key: noKey,
    },
    settings: {
      provider: 'rehearsal',
      model: 'rehearsal',
      temperature: null,
      maxTokens: null,
      topP: null,
      timeoutMs: null,
      maxRetries: null,
      extra: {},
    },
    capabilities: store.capabilities,
    logger: silentLogger,
    patienceMs: 2_000,
  });

/** The same port in everything else. */
const changed = (port: BatchPort, changes: Partial<BatchPort>): BatchPort =>
  new Proxy(port, {
    get(target, name) {
      const value: unknown = Reflect.get({ ...changes }, name) ?? Reflect.get(target, name);
      return typeof value === 'function' && !(name in changes) ? value.bind(target) : value;
    },
  });

interface Judging {
  readonly requestsMax?: number;
  readonly roundsMax?: number;
  readonly limit?: number;
  readonly batches?: (port: BatchPort) => BatchPort;
  readonly stop?: AbortSignal;
  readonly onStatus?: (text: string | null) => void;
}

interface Judged {
  readonly end: PassEnd;
  readonly counts: BatchCounts;
}

/** As `dlgforge judge --batch` wires it. */
async function judging<T>(asked: Judging, use: (options: BatchedPassOptions) => Promise<T>): Promise<T> {
  const held = await lease();
  await store.verdicts.begin(held, DATASET, PASS, null);
  const port = newPort();
  const stop = asked.stop ?? new AbortController().signal;
  const looks = new Looks(asked.limit ?? null);
  const selection = {
    verdicts: store.verdicts,
    datasetId: DATASET,
    pass: PASS,
    rejudgeRound: null,
    languages: [],
    limit: null,
  };
  try {
    return await use({
      look: () => unitsOf(looks.ours(planned(candidates(source()), selection))),
      batches: asked.batches?.(port) ?? port,
      limits: {
        requestsMax: asked.requestsMax ?? 1_000,
        bytesMax: 1_000_000,
        roundsMax: asked.roundsMax ?? 5,
        pollMaxMs: 20,
      },
      clock: systemClock,
      signal: new AbortController().signal,
      onStatus: asked.onStatus ?? (() => undefined),
      counts: { created: 0, requests: 0, ignored: 0, open: 0 },
      datasetId: DATASET,
      pass: PASS.id,
      prompts,
      journal: store.journal,
      usedName: (endpoint) => endpoint,
      record: (verdict) => store.verdicts.record(held, DATASET, PASS.id, verdict),
      onJudged: (_unit, stored) => looks.judged(stored),
      stop,
      logger: silentLogger,
    });
  } finally {
    await port.close();
  }
}

const judge = (asked: Judging = {}): Promise<Judged> =>
  judging(asked, async (options) => ({ end: await runBatchedPass(options), counts: options.counts }));

async function verdicts(): Promise<readonly StoredVerdict[]> {
  const ids: string[] = [];
  for await (const { payload } of candidates(source())) ids.push(payload.conversationId);
  return await store.verdicts.of(DATASET, PASS.id, ids);
}

/** How often each request was answered for money, by the server's log. */
function timesPaid(): number[] {
  const times = new Map<string, number>();
  for (const { event, status, key } of rehearsal.log())
    if (event === 'completion' && status === 200) times.set(key, (times.get(key) ?? 0) + 1);
  return [...times.values()];
}
const onceEach = (requests: number): number[] => Array.from({ length: requests }, () => 1);
const COMPLETED: PassEnd = { type: 'completed' };

test('every verdict is asked once, in as many batches as needed, with the usage of each answer', async () => {
  const { end, counts } = await judge({ requestsMax: 3 });
  expect(end).toEqual(COMPLETED);
  expect(counts).toEqual({ created: Math.ceil(turns / 3), requests: turns, ignored: 0, open: 0 });
  expect((await verdicts()).filter(({ verdict }) => verdict !== null).length).toBe(turns);
  expect(timesPaid()).toEqual(onceEach(turns));
  expect(rehearsal.log().every((entry) => entry.event === 'arrival' || entry.batch !== undefined)).toBe(true);
  const [totals] = await store.verdicts.callTotals(DATASET, PASS.id);
  expect(totals).toMatchObject({ role: 'judge', calls: turns, rehearsal: true });
  expect(totals?.promptTokens).toBe(rehearsal.stats().prompt_tokens);
  expect((await judge()).counts.created).toBe(0);
});

test('a limit means the same conversations in every round', async () => {
  rehearsal.setOptions({ malformed_rate: 0.4 });
  expect((await judge({ limit: 2 })).end).toEqual(COMPLETED);
  const judged = await verdicts();
  expect(new Set(judged.map(({ conversationId }) => conversationId)).size).toBe(2);
});

test('E18 repairs go with the next batch; an answer that cannot be read after it is no verdict, once', async () => {
  rehearsal.setOptions({ malformed_rate: 1 });
  const { end, counts } = await judge();
  expect(end).toEqual(COMPLETED);
  expect(counts).toMatchObject({ created: 2, requests: 2 * turns });
  expect((await verdicts()).map(({ verdict, tries }) => [verdict, tries])).toEqual(
    Array.from({ length: turns }, () => [null, 1]),
  );
});

test('what expired batches answered is kept, and the rest is asked again', async () => {
  rehearsal.setOptions({ batch: { expiry_rate: 1, expires_after: 0.5 } });
  const { end, counts } = await judge({ roundsMax: 20 });
  // The last request alone never gets its turn while every batch expires at its half.
  expect(end).toEqual(COMPLETED);
  const [missing, ...others] = (await verdicts()).filter(({ verdict }) => verdict === null);
  expect(others).toEqual([]);
  expect(missing?.reason).toMatch(/^refused: gave up after 20 batches: .*batch_expired/);
  expect(counts.requests).toBeGreaterThan(turns + 1);
  expect(timesPaid()).toEqual(onceEach(turns - 1));
});

test('requests that fail in a batch are asked again, none of the others', async () => {
  rehearsal.setOptions({ batch: { request_error_rate: 0.4 } });
  const { end, counts } = await judge({ roundsMax: 30 });
  expect(end).toEqual(COMPLETED);
  expect(counts.created).toBeGreaterThan(1);
  expect((await verdicts()).filter(({ verdict }) => verdict !== null).length).toBe(turns);
  expect(timesPaid()).toEqual(onceEach(turns));
});

test('I1 answers that were journalled before a crash count once, though they are fetched again', async () => {
  const crash = new Error('crash');
  const journal: BatchedPassOptions['journal'] = {
    recover: (...args) => store.journal.recover(...args),
    read: (...args) => store.journal.read(...args),
    async append(id, epoch, seq, events) {
      if (events.some((event) => (event as { type: string }).type === 'BatchSettled')) throw crash;
      await store.journal.append(id, epoch, seq, events);
    },
  };
  const end = await judging({}, (options) => runBatchedPass({ ...options, journal }));
  expect(end).toEqual({ type: 'failed', error: crash });
  expect(await verdicts()).toEqual([]);
  expect((await judge()).end).toEqual(COMPLETED);
  expect(timesPaid()).toEqual(onceEach(turns));
  expect((await store.verdicts.callTotals(DATASET, PASS.id))[0]?.calls).toBe(turns);
});

test('a request that the provider refuses for good is no verdict, with its reason', async () => {
  rehearsal.setOptions({ context_limit_tokens: 10 });
  const { end, counts } = await judge();
  expect(end).toEqual(COMPLETED);
  expect(counts.created).toBe(1);
  const all = await verdicts();
  expect(all.length).toBe(turns);
  expect(all.every(({ reason }) => reason?.startsWith('refused: the prompt is too long') === true)).toBe(
    true,
  );
});

test('a response format that the server lacks is learned by a batch', async () => {
  rehearsal.setOptions({ unsupported_response_formats: ['json_schema'] });
  const { end, counts } = await judge();
  expect(end).toEqual(COMPLETED);
  expect(counts.created).toBe(2);
  expect((await verdicts()).filter(({ verdict }) => verdict !== null).length).toBe(turns);
});

test('a batch whose validation fails ends the pass with what the provider says; the next command begins anew', async () => {
  rehearsal.setOptions({ batch: { validation_failure_rate: 1 } });
  const { end } = await judge();
  expect(end).toMatchObject({ type: 'failed', error: { code: 'endpoint' } });
  expect(String((end as { error?: unknown }).error)).toContain(
    'The validation of this batch failed, as it was told to.',
  );
  rehearsal.setOptions({ batch: { validation_failure_rate: 0 } });
  expect((await judge()).end).toEqual(COMPLETED);
  expect(timesPaid()).toEqual(onceEach(turns));
});

test('results of strangers, doubled ones and broken lines are ignored and counted', async () => {
  const { end, counts } = await judge({
    batches: (port) =>
      changed(port, {
        async *results(...args: Parameters<BatchPort['results']>) {
          for await (const result of port.results(...args)) {
            yield result;
            yield result;
          }
          yield { type: 'refused', customId: 'somebody', reason: 'else' } as const;
          yield { type: 'unreadable' } as const;
        },
      }),
  });
  expect(end).toEqual(COMPLETED);
  expect(counts.ignored).toBe(turns + 2);
  expect((await verdicts()).filter(({ verdict }) => verdict !== null).length).toBe(turns);
});

test('a stopped command leaves its batch, says how far it is, and the next one goes on with it', async () => {
  rehearsal.setOptions({ batch: { duration_ms: 400 } });
  const stop = new AbortController();
  const said: (string | null)[] = [];
  const stopped = await judge({
    stop: stop.signal,
    onStatus(text) {
      said.push(text);
      if (/^batch 1 of 1: [1-9]/.test(text ?? '')) stop.abort();
    },
  });
  expect(stopped.end).toEqual({ type: 'interrupted' });
  expect(stopped.counts.open).toBe(1);
  expect(said.some((text) => new RegExp(`^batch 1 of 1: \\d+ of ${turns} done$`).test(text ?? ''))).toBe(
    true,
  );
  const { end, counts } = await judge();
  expect(end).toEqual(COMPLETED);
  expect(counts.created).toBe(0);
  expect(timesPaid()).toEqual(onceEach(turns));
});

test('a batch that the provider does not end in its time is cancelled, and what it has is kept', async () => {
  rehearsal.setOptions({ batch: { duration_ms: 600_000 } });
  let isCancelled = false;
  const { end, counts } = await judge({
    batches: (port) =>
      changed(port, {
        async retrieve(...args) {
          const state = await port.retrieve(...args);
          return state === null || isCancelled ? state : { ...state, createdAtMs: 0 };
        },
        async cancel(...args) {
          await port.cancel(...args);
          isCancelled = true;
          rehearsal.setOptions({ batch: { duration_ms: 0 } });
        },
      }),
  });
  expect(end).toEqual(COMPLETED);
  expect(counts.created).toBe(2);
  expect(timesPaid()).toEqual(onceEach(turns));
});

test('single calls cancel a batch that is open and keep what it has finished', async () => {
  rehearsal.setOptions({ batch: { duration_ms: 4_000 } });
  const stop = new AbortController();
  const onStatus = (text: string | null): void => {
    if (/^batch 1 of 1: [1-9]/.test(text ?? '')) stop.abort();
  };
  expect((await judge({ stop: stop.signal, onStatus })).end).toEqual({ type: 'interrupted' });
  expect(await judging({}, endBatches)).toEqual(COMPLETED);
  expect(await openParts(store.journal, DATASET, PASS.id)).toEqual([]);
  rehearsal.setOptions({ batch: { duration_ms: 0 } });
  const { counts } = await judge();
  expect(counts.requests).toBeLessThan(turns);
  expect(timesPaid()).toEqual(onceEach(turns));
});

test('a batch at another endpoint is an error that names both; one that the provider has forgotten is asked again', async () => {
  rehearsal.setOptions({ batch: { duration_ms: 60_000 } });
  const stop = new AbortController();
  const onStatus = (text: string | null): void => {
    if (text?.includes(' of ') === true) stop.abort();
  };
  await judge({ stop: stop.signal, onStatus });
  const { end } = await judge({ batches: (port) => changed(port, { endpoint: 'another' }) });
  expect(String((end as { error?: unknown }).error)).toMatch(
    /batch_rehearsal_1 of this pass is at the judge.*now another/,
  );
  await rehearsal.close();
  rehearsal = await startRehearsal({ seed: 3, log_limit: 100_000 });
  expect((await judge()).end).toEqual(COMPLETED);
  expect(timesPaid()).toEqual(onceEach(turns));
});
