/** Verdicts on conversations that exist: the pass over the memory store, with the real rehearsal behind the real client. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createRouterClient, endpointRouter } from '../../src/actors/endpoint-router/actor.ts';
import { createModelCalls } from '../../src/actors/endpoint-router/model-calls.ts';
import { type JudgeUnit, unitPersistenceId } from '../../src/actors/judging/judge-unit.ts';
import { liveAnswers } from '../../src/actors/judging/live-answers.ts';
import { type PassEnd, runJudgePass, type VerdictAnswers } from '../../src/actors/judging/run-judge-pass.ts';
import { createActorSystem } from '../../src/actors/runtime/actor-system.ts';
import { type Candidate, candidates } from '../../src/bootstrap/judge/judged-conversations.ts';
import { planned, unitsOf } from '../../src/bootstrap/judge/judge-plan.ts';
import { type Granularity, type JudgePass, judgePassOf } from '../../src/dialogue/judge-pass.ts';
import { verdictRequest } from '../../src/dialogue/judge-requests.ts';
import { keyed } from '../../src/dialogue/stored-request.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { DlgforgeError } from '../../src/kernel/errors.ts';
import { runId } from '../../src/kernel/ids.ts';
import { silentLogger } from '../../src/kernel/logger.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import type { LeaseGrant } from '../../src/ports/store.ts';
import type { StoredVerdict } from '../../src/ports/verdicts.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { journalledAnswers, until } from '../support/simulation.ts';
import { DATASET, dialogueOf, rehearsalPort, startWorld } from '../support/world.ts';

const { prompts } = dialogueOf({});
const MAX_IN_FLIGHT = 4;

let rehearsal: Rehearsal;
let store: MemoryStore;
beforeEach(async () => {
  rehearsal = await startRehearsal({ seed: 3, log_limit: 100_000 });
  store = new MemoryStore();
});
afterEach(() => rehearsal.close());

async function generate(granularity: Granularity | null): Promise<void> {
  const judge = granularity === null ? null : { granularity, reasons: prompts.run.judgeReasons };
  const world = await startWorld({ store, url: rehearsal.url, totalSamples: 4, settings: { judge } });
  expect(await world.end).toEqual({ type: 'completed' });
  await world.close();
  rehearsal.reset();
}

async function found(): Promise<Candidate[]> {
  const all: Candidate[] = [];
  const source = { store, datasetId: DATASET, outputDir: '/nowhere', onSkipped: () => undefined };
  for await (const candidate of candidates(source)) all.push(candidate);
  return all;
}

async function lease(): Promise<LeaseGrant> {
  const holder = { host: 'test', pid: 2, processKey: 'judge', command: 'judge', sinceMs: 0 };
  const result = await store.acquireLease('dataset/D', holder, 1_000, () => false);
  if (result.type !== 'granted') throw new Error('the dataset is held');
  return result.lease;
}

interface PassOptions {
  readonly answers?: (live: VerdictAnswers) => VerdictAnswers;
  readonly rejudge?: boolean;
  readonly stop?: AbortSignal;
  readonly record?: (verdict: StoredVerdict) => void;
}

/** As `dlgforge judge` wires it. */
async function judge(pass: JudgePass, options: PassOptions = {}): Promise<PassEnd> {
  const held = await lease();
  const rejudge = options.rejudge === true ? 'all' : null;
  const { round } = await store.verdicts.begin(held, DATASET, pass, rejudge);
  const system = createActorSystem({ node: 'local', logger: silentLogger, clock: systemClock });
  const port = rehearsalPort({
    url: rehearsal.url,
    store,
    maxInFlight: MAX_IN_FLIGHT,
    logger: silentLogger,
  });
  const run = runId('judge');
  const router = system.spawn(
    'endpoint-router',
    endpointRouter({
      runs: [
        {
          runId: run,
          endpoints: port.endpoints,
          strategy: 'weighted_least_inflight',
          roleStrategies: {},
          asksFirst: false,
        },
      ],
    }),
  );
  const calls = createModelCalls({
    router: createRouterClient({ messenger: system, router, runId: run, name: 'local' }),
    port,
    clock: systemClock,
    logger: silentLogger,
    patienceMs: 10_000,
  });
  const stop = options.stop ?? new AbortController().signal;
  const live = liveAnswers({ calls, maxInFlight: MAX_IN_FLIGHT, admission: stop, signal: stop });
  const selection = {
    verdicts: store.verdicts,
    datasetId: DATASET,
    pass,
    rejudgeRound: rejudge === null ? null : round,
    languages: [],
    limit: null,
  };
  const source = { store, datasetId: DATASET, outputDir: '/nowhere', onSkipped: () => undefined };
  const end = await runJudgePass({
    units: unitsOf(planned(candidates(source), selection)),
    answers: options.answers?.(live) ?? live,
    datasetId: DATASET,
    pass: pass.id,
    prompts,
    journal: store.journal,
    usedName: (endpoint) => port.usedName('judge', endpoint),
    record: async (verdict) => {
      options.record?.(verdict);
      await store.verdicts.record(held, DATASET, pass.id, verdict);
    },
    stop,
    logger: silentLogger,
  });
  if (end.type === 'completed') await store.verdicts.publish(held, DATASET, pass.id, true);
  await system.stop();
  await port.close();
  return end;
}

async function verdictsOf(pass: JudgePass): Promise<readonly StoredVerdict[]> {
  const ids = (await found()).map(({ payload }) => payload.conversationId);
  return await store.verdicts.of(DATASET, pass.id, ids);
}

const arrivals = (): number => rehearsal.log().filter(({ event }) => event === 'arrival').length;
const turnsOf = async (): Promise<number> =>
  (await found()).reduce((sum, { payload }) => sum + payload.turns.length, 0);

const BY_TURN = judgePassOf(prompts, 'turn', 'rehearsal');
const WHOLE = judgePassOf(prompts, 'conversation', 'rehearsal');

test.each(['turn', 'conversation'] as const)(
  'the judge is asked the very same as a run asks while it goes on, by %s',
  async (granularity) => {
    await generate(granularity);
    const purpose = granularity === 'turn' ? 'verdict' : 'conversation_verdict';
    const asked = (await journalledAnswers(store)).filter((answer) => answer.purpose === purpose);
    const keys: string[] = [];
    for (const candidate of await found()) {
      const conversation = await candidate.load();
      expect(conversation.turns.every(({ evidenceFrom }) => evidenceFrom === 'shown')).toBe(true);
      const turns = granularity === 'turn' ? conversation.turns.map(({ turn }) => turn) : [0];
      for (const turn of turns)
        keys.push(keyed(verdictRequest(conversation, turn, prompts, { tries: 0, broken: null })).requestKey);
    }
    expect(keys.length).toBeGreaterThan(7);
    expect(new Set(asked.map(({ requestKey }) => requestKey))).toEqual(new Set(keys));
  },
);

test('D12 verdicts are asked for side by side, under the limit of the endpoint', async () => {
  await generate(null);
  rehearsal.setOptions({ latency: { distribution: 'fixed', mean_ms: 30 } });
  expect(await judge(BY_TURN)).toEqual({ type: 'completed' });
  const inFlight = rehearsal.log().map((entry) => entry.in_flight);
  expect(Math.max(...inFlight)).toBe(MAX_IN_FLIGHT);
  const verdicts = await verdictsOf(BY_TURN);
  expect(verdicts.length).toBe(await turnsOf());
  expect(arrivals()).toBe(verdicts.length);
  expect(verdicts.every(({ verdict }) => typeof verdict?.['score'] === 'number')).toBe(true);
  const [totals] = await store.verdicts.callTotals(DATASET, BY_TURN.id);
  expect(totals).toMatchObject({ role: 'judge', calls: verdicts.length, rehearsal: true });
  expect(totals?.promptTokens).toBeGreaterThan(0);
});

test('B13 the passes of two granularities know nothing of each other, and neither is asked again', async () => {
  await generate(null);
  await judge(BY_TURN);
  const byTurn = await verdictsOf(BY_TURN);
  await judge(WHOLE);
  const whole = await verdictsOf(WHOLE);
  expect(whole.map(({ turn }) => turn)).toEqual((await found()).map(() => 0));
  expect(await verdictsOf(BY_TURN)).toEqual(byTurn);
  rehearsal.reset();
  await judge(BY_TURN);
  await judge(WHOLE);
  expect(arrivals()).toBe(0);
});

test('E18 a judge that cannot be read is repaired once; then there is no verdict, no score, and the next command asks again', async () => {
  await generate(null);
  rehearsal.setOptions({ malformed_rate: 1 });
  expect(await judge(BY_TURN)).toEqual({ type: 'completed' });
  const turns = await turnsOf();
  expect(arrivals()).toBe(2 * turns);
  const none = await verdictsOf(BY_TURN);
  expect(none.map(({ verdict, tries }) => [verdict, tries])).toEqual(none.map(() => [null, 1]));
  expect(none.every(({ reason }) => reason?.startsWith('unusable: '))).toBe(true);
  rehearsal.setOptions({ malformed_rate: 0 });
  rehearsal.reset();
  await judge(BY_TURN);
  expect(arrivals()).toBe(turns);
  expect((await verdictsOf(BY_TURN)).every(({ verdict, tries }) => verdict !== null && tries === 2)).toBe(
    true,
  );
});

test('A10 an answer that was paid for before a crash is used again, between answer and repair too', async () => {
  await generate(null);
  rehearsal.setOptions({ malformed_rate: 0.4 });
  class Crash extends Error {}
  let kept = 0;
  const crashing = await judge(BY_TURN, {
    record() {
      kept += 1;
      if (kept > 3) throw new Crash();
    },
  });
  expect(crashing).toMatchObject({ type: 'failed', error: expect.any(Crash) as unknown });
  const before = rehearsal.log().filter(({ event }) => event === 'completion');
  await until(() => rehearsal.stats().in_flight === 0, 'the last answers');
  const paid = new Set(before.map(({ key }) => key));
  rehearsal.reset();
  await judge(BY_TURN);
  const again = rehearsal.log().filter(({ event, key }) => event === 'arrival' && paid.has(key));
  expect(again).toEqual([]);
  expect((await verdictsOf(BY_TURN)).length).toBe(await turnsOf());
});

test('judging again asks everything once more, and goes on where it was cut short', async () => {
  await generate(null);
  await judge(BY_TURN);
  rehearsal.reset();
  const stop = new AbortController();
  let recorded = 0;
  const end = await judge(BY_TURN, {
    rejudge: true,
    stop: stop.signal,
    record() {
      recorded += 1;
      if (recorded === 5) stop.abort();
    },
  });
  expect(end).toEqual({ type: 'interrupted' });
  await judge(BY_TURN, { rejudge: true });
  const turns = await turnsOf();
  const paid = (await store.verdicts.callTotals(DATASET, BY_TURN.id))[0]?.calls ?? 0;
  expect(paid).toBe(2 * turns);
  expect((await verdictsOf(BY_TURN)).every(({ round }) => round === 1)).toBe(true);
  rehearsal.reset();
  await judge(BY_TURN);
  expect(arrivals()).toBe(0);
});

test('a failure of whoever answers ends the pass, and what was open is left', async () => {
  await generate(null);
  const failure = new DlgforgeError('endpoint', 'nobody answers');
  const end = await judge(BY_TURN, {
    answers: () => ({ window: 3, ask: () => Promise.reject(failure) }),
  });
  expect(end).toEqual({ type: 'failed', error: failure });
  expect(await verdictsOf(BY_TURN)).toEqual([]);
});

test('the journal of a verdict is its own, whatever its conversation is called', async () => {
  await generate(null);
  const [candidate] = await found();
  if (candidate === undefined) throw new Error('there are conversations');
  const conversation = { ...(await candidate.load()), conversationId: 'a/b \ud83d\u0000' };
  const unit: JudgeUnit = { conversation, turn: 1, round: 0, tries: 0 };
  expect(unitPersistenceId(DATASET, 'p', unit)).toBe('judge/D/p/0/a%2Fb%20%EF%BF%BD%00/1');
});
