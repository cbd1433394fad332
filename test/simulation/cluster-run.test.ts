import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decodeRunEvent, type RunEvent, runEventsId } from '../../src/protocol/run-events.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import type { Store } from '../../src/ports/store.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { withPart } from '../support/failing.ts';
import { type RunCluster, type RunClusterOptions, startRunCluster } from '../support/run-cluster.ts';
import { committedOf, expectWhole, journalledAnswers, until } from '../support/simulation.ts';
import { datasetOf, hurried, RUN, startWorld } from '../support/world.ts';

let rehearsal: Rehearsal;
let store: MemoryStore;
let clusters: RunCluster[];
beforeEach(async () => {
  rehearsal = await startRehearsal({
    seed: 61,
    duplicate_rate: 0.2,
    latency: { mean_ms: 4, distribution: 'lognormal' },
  });
  store = new MemoryStore();
  clusters = [];
});
afterEach(async () => {
  await Promise.all(clusters.map((cluster) => cluster.close()));
  await rehearsal.close();
});

/** Conversations per language. */
const SAMPLES = 8;
const settings = { turns: { min: 1, max: 3, distribution: 'uniform', mean: null } } as const;

async function startCluster(options: Partial<RunClusterOptions> = {}): Promise<RunCluster> {
  const common = { store, url: rehearsal.url, totalSamples: SAMPLES, batchSize: 8, settings };
  const cluster = await startRunCluster({ ...common, ...options });
  clusters.push(cluster);
  return cluster;
}

const eventsOf = async (from: Store = store): Promise<RunEvent[]> =>
  (await from.journal.read(runEventsId(RUN))).map(({ event }) => decodeRunEvent(event) as RunEvent);
const typesOf = async (): Promise<string[]> => (await eventsOf()).map(({ type }) => type);
const committedCount = async (): Promise<number> => (await committedOf(store)).length;

/** Every conversation of the commit table is in the events, once and in its order. */
async function expectEventsOnce(): Promise<void> {
  const settled = (await eventsOf()).filter((event) => event.type === 'ConversationSettled');
  const rows = await datasetOf(store);
  expect(
    settled.map(({ commitSeq, conversationId, outcome }) => [commitSeq, conversationId, outcome]),
  ).toEqual(rows.map(({ commitSeq, conversationId, status }) => [commitSeq, conversationId, status]));
  expect((await typesOf()).filter((type) => type === 'LanguageEnded').length).toBe(2);
}

const bytesOf = async (from: Store): Promise<string> =>
  JSON.stringify(await datasetOf(from), (key, value: unknown) =>
    /answerSeqs|AnswerSeq/.test(key) ? null : value,
  );

let alone: string | null = null;
/** The same bytes as one process that nothing happened to (I5). */
async function expectSameAsAlone(): Promise<void> {
  if (alone === null) {
    const calm = new MemoryStore();
    const common = { store: calm, url: rehearsal.url, totalSamples: SAMPLES, settings, clock: hurried };
    const world = await startWorld(common);
    expect(await world.end).toEqual({ type: 'completed' });
    await world.close();
    alone = await bytesOf(calm);
  }
  expect(await bytesOf(store)).toBe(alone);
}

const starts = async () => (await eventsOf()).filter((event) => event.type === 'CoordinatorStarted');
const startedBy = async (): Promise<string[]> => (await starts()).map(({ node }) => node);

async function expectComplete(): Promise<void> {
  await expectWhole(store, SAMPLES);
  await expectSameAsAlone();
  await expectEventsOnce();
}

test('I5: a run over three nodes gives the same dataset as one process, and its events say what happened', async () => {
  const cluster = await startCluster();
  const { leader, outcome } = await cluster.lead('a', true);
  for (const node of ['b', 'c']) await cluster.addWorker(node);
  await until(
    async () => (await leader.view()).workers.every(({ conversations }) => conversations > 0),
    'work for all',
  );
  expect(await outcome).toEqual({ type: 'completed' });
  await expectComplete();
  const types = await typesOf();
  expect(types[0]).toBe('CoordinatorStarted');
  expect(types.filter((type) => type === 'WorkerJoined').length).toBe(2);
  expect((await eventsOf()).at(-1)).toEqual({ type: 'RunEnded', end: { type: 'completed' } });
});

describe('a worker that is lost', () => {
  test('killed: its conversations go on elsewhere, from what they had', async () => {
    const cluster = await startCluster();
    const { outcome } = await cluster.lead('a', true);
    for (const node of ['b', 'c']) await cluster.addWorker(node);
    await until(async () => (await committedCount()) >= 2, 'two commits');
    await cluster.kill('b');
    expect(await outcome).toEqual({ type: 'completed' });
    await expectComplete();
    expect(await eventsOf()).toContainEqual({
      type: 'WorkerLost',
      worker: 'b/worker:R',
      conversations: expect.any(Number) as number,
    });
  });

  test('I2: cut off, but with the database: others go on, and what it still writes is refused', async () => {
    const cluster = await startCluster();
    const { outcome } = await cluster.lead('a', true);
    for (const node of ['b', 'c']) await cluster.addWorker(node);
    await until(async () => (await committedCount()) >= 2, 'two commits');
    cluster.cutOff('b');
    expect(await outcome).toEqual({ type: 'completed' });
    await expectComplete();
  });

  test('before any of its work was done, and nobody else there: a worker that comes later does it', async () => {
    const cluster = await startCluster();
    const { leader, outcome } = await cluster.lead('a', true);
    await cluster.addWorker('b');
    await until(async () => ((await leader.view()).workers[0]?.conversations ?? 0) > 0, 'work for b');
    await cluster.kill('b');
    await until(async () => (await leader.view()).workers.length === 0, 'the loss of b');
    await cluster.addWorker('c');
    expect(await outcome).toEqual({ type: 'completed' });
    await expectComplete();
  });

  test('drained: it hands everything back, and no call that it made is lost', async () => {
    const cluster = await startCluster();
    const { outcome } = await cluster.lead('a', true);
    const leaving = await cluster.addWorker('b');
    await until(async () => (await committedCount()) >= 1, 'a commit');
    await cluster.addWorker('c');
    await leaving.handBack(60_000);
    expect(leaving.conversations()).toBe(0);
    expect(await outcome).toEqual({ type: 'completed' });
    await expectComplete();
    const keys = (await journalledAnswers(store)).map(
      ({ conversation, requestKey }) => `${conversation} ${requestKey}`,
    );
    expect(new Set(keys).size).toBe(keys.length);
    expect(rehearsal.log().filter(({ event }) => event === 'arrival').length).toBe(keys.length);
  });
});

describe('a leader that is lost', () => {
  test('killed in the middle, twice: others lead on, and every event is there once', async () => {
    const cluster = await startCluster();
    for (const node of ['b', 'c']) await cluster.addWorker(node);
    await cluster.lead('a', true);
    await until(async () => (await committedCount()) >= 2, 'two commits');
    await cluster.kill('a');
    await cluster.lead('d');
    await until(async () => (await startedBy()).includes('d'), 'd as the leader');
    await until(async () => (await committedCount()) >= 6, 'six commits');
    await cluster.kill('d');
    const { outcome } = await cluster.lead('e');
    expect(await outcome).toEqual({ type: 'completed' });
    await expectComplete();
    expect(await startedBy()).toEqual(['a', 'd', 'e']);
    const epochs = (await starts()).map(({ epoch }) => epoch);
    expect(epochs).toEqual(epochs.toSorted((x, y) => x - y));
  });

  test('I2: cut off and replaced, it ends as superseded and commits nothing more', async () => {
    const cluster = await startCluster();
    for (const node of ['b', 'c']) await cluster.addWorker(node);
    const first = await cluster.lead('a', true);
    await until(async () => (await committedCount()) >= 2, 'two commits');
    cluster.cutOff('a');
    const second = await cluster.lead('d');
    expect(await second.outcome).toEqual({ type: 'completed' });
    await expectComplete();
    // It finds out as soon as it writes anything: here a person's wish, which it alone has not seen carried out.
    await store.setRunWanted(RUN, 'pause');
    expect(await first.outcome).toMatchObject({ type: 'superseded' });
    expect((await typesOf()).at(-1)).toBe('RunEnded');
  });

  test('on the node of a worker: both go, and what is left goes on', async () => {
    const cluster = await startCluster();
    for (const node of ['a', 'b']) await cluster.addWorker(node);
    await cluster.lead('a', true);
    await until(async () => (await committedCount()) >= 2, 'two commits');
    await cluster.kill('a');
    const { outcome } = await cluster.lead('b');
    expect(await outcome).toEqual({ type: 'completed' });
    await expectComplete();
  });
});

test('a queue that loses what it had is filled again', async () => {
  const cluster = await startCluster({ batchSize: 16 });
  const { leader, outcome } = await cluster.lead('a', true);
  // Nobody takes anything yet, so everything waits in the queue.
  await until(() => cluster.queue.waiting > 0, 'something in the queue');
  cluster.queue.lose();
  await until(() => cluster.queue.waiting > 0, 'the queue to be filled again');
  await cluster.addWorker('b');
  await until(async () => (await leader.view()).workers.length > 0, 'a worker');
  cluster.queue.lose();
  expect(await outcome).toEqual({ type: 'completed' });
  await expectComplete();
});

test('a worker that lacks a key takes nothing and says so', async () => {
  const cluster = await startCluster();
  const { leader, outcome } = await cluster.lead('a', true);
  await cluster.addWorker('b', ['OPENAI_API_KEY']);
  await cluster.addWorker('c');
  await until(async () => (await leader.view()).workers.length === 2, 'both workers');
  const lacking = (await leader.view()).workers.find(({ worker }) => worker.startsWith('b/'));
  expect(lacking).toMatchObject({ lacks: ['OPENAI_API_KEY'], conversations: 0 });
  expect(await outcome).toEqual({ type: 'completed' });
  await expectComplete();
  expect(await eventsOf()).toContainEqual({
    type: 'WorkerJoined',
    worker: 'b/worker:R',
    lacks: ['OPENAI_API_KEY'],
  });
});

describe('what a person wants', () => {
  const arrivals = (): number => rehearsal.log().filter(({ event }) => event === 'arrival').length;

  /** Every call is answered, and no other follows for a while. */
  async function untilQuiet(): Promise<number> {
    let [last, sinceMs] = [-1, 0];
    await until(() => {
      if (arrivals() !== last) [last, sinceMs] = [arrivals(), Date.now()];
      return Date.now() - sinceMs > 150;
    }, 'quiet');
    return last;
  }

  test('pause: nothing more is asked, what is in flight is kept; and then it goes on', async () => {
    // So few permits that calls are waiting when the pause comes.
    const cluster = await startCluster({ maxInFlight: 2 });
    const { leader, outcome } = await cluster.lead('a', true);
    for (const node of ['b', 'c']) await cluster.addWorker(node);
    await until(async () => (await committedCount()) >= 2, 'two commits');
    await store.setRunWanted(RUN, 'pause');
    await until(async () => (await leader.view()).phase === 'paused', 'the pause');
    const asked = await untilQuiet();
    expect((await journalledAnswers(store)).length).toBe(asked);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(arrivals()).toBe(asked);
    expect((await store.getRun(RUN))?.status).toBe('paused');
    // The pause outlives its coordinator.
    await cluster.kill('a');
    const moved = await cluster.lead('d');
    await until(
      async () => (await moved.leader.view()).phase === 'paused',
      'the pause under the next leader',
    );
    await store.setRunWanted(RUN, 'run');
    expect(await moved.outcome).toEqual({ type: 'completed' });
    await expectComplete();
    expect(arrivals()).toBe((await journalledAnswers(store)).length);
    const types = await typesOf();
    expect([
      types.filter((type) => type === 'RunPaused').length,
      types.filter((type) => type === 'RunResumed').length,
    ]).toEqual([1, 1]);
    void outcome;
  });

  test('cancel: the run ends as cancelled, with what was paid for; a person may still have it go on', async () => {
    // So few are open that the run cannot have ended before its cancellation is seen.
    const cluster = await startCluster({ shutdownGraceMs: 60_000, batchSize: 2 });
    const { outcome } = await cluster.lead('a', true);
    await cluster.addWorker('b');
    await until(async () => (await committedCount()) >= 2, 'two commits');
    await store.setRunWanted(RUN, 'cancel');
    expect(await outcome).toEqual({ type: 'cancelled' });
    expect((await journalledAnswers(store)).length).toBe(arrivals());
    expect((await eventsOf()).at(-1)).toEqual({ type: 'RunEnded', end: { type: 'cancelled' } });
    await cluster.close();
    await store.setRunWanted(RUN, 'run');
    const again = await startCluster();
    await again.addWorker('b');
    const resumed = await again.lead('a');
    expect(await resumed.outcome).toEqual({ type: 'completed' });
    await expectComplete();
  });
});

test('a run whose commits are older than its events gets them, once', async () => {
  const { journal } = store;
  // As a release without events leaves it: here they go to another place.
  const elsewhere = new Proxy(journal, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return (id: string, ...given: unknown[]): unknown =>
        method.apply(target, [id === runEventsId(RUN) ? 'elsewhere' : id, ...given]);
    },
  });
  const old = await startCluster({ store: withPart<Store, 'journal'>(store, 'journal', elsewhere) });
  await old.addWorker('b');
  await old.lead('a', true);
  await until(async () => (await committedCount()) >= 3, 'three commits');
  await old.close();
  expect(await eventsOf()).toEqual([]);
  const cluster = await startCluster();
  await cluster.addWorker('b');
  const { outcome } = await cluster.lead('a');
  expect(await outcome).toEqual({ type: 'completed' });
  await expectComplete();
});
