import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { coordinator } from '../../../../src/actors/coordinator/coordinator.ts';
import type { CoordinatorOptions } from '../../../../src/actors/coordinator/options.ts';
import type {
  ClaimReply,
  CoordinatorMessage,
  Outcome,
  RunNotice,
  RunView,
  WorkerHere,
  WorkerMessage,
} from '../../../../src/actors/messages.ts';
import { createActorSystem } from '../../../../src/actors/runtime/actor-system.ts';
import type { ActorRef, ActorSystem } from '../../../../src/actors/runtime/types.ts';
import type { Rank } from '../../../../src/dialogue/schedule.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import type { LeaseGrant } from '../../../../src/ports/store.ts';
import type { WorkItem } from '../../../../src/ports/work-queue.ts';
import { decodeRunEvent, runEventsId } from '../../../../src/protocol/run-events.ts';
import { MemoryStore } from '../../../../src/store/memory-store.ts';
import { createMemoryWorkQueue } from '../../../../src/transport/memory-work-queue.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';
import { until } from '../../../support/simulation.ts';
import { DATASET, openRun, RUN } from '../../../support/world.ts';

let clock: SimulatedClock;
let store: MemoryStore;
let system: ActorSystem;
let outcomes: Outcome[];
let living: string[];
beforeEach(async () => {
  clock = new SimulatedClock(1_000);
  store = new MemoryStore(clock);
  await openRun(store);
  system = createActorSystem({ node: 'n', logger: silentLogger, clock, strictMessages: true });
  outcomes = [];
  living = ['n'];
});
afterEach(() => system.stop());

/** A worker that does nothing but hear. */
function listener(name: string): { readonly ref: ActorRef<WorkerMessage>; readonly heard: RunNotice[] } {
  const heard: RunNotice[] = [];
  const ref = system.spawn<WorkerMessage>(name, {
    kind: 'worker',
    start: () => ({ receive: (message) => void (message.type === 'RunNotice' && heard.push(message)) }),
  });
  return { ref, heard };
}

async function grantLease(): Promise<LeaseGrant> {
  const holder = { host: 'cluster', pid: 1, processKey: 'n', command: 'test', sinceMs: 0 };
  const granted = await store.acquireLease('dataset/D', holder, 1_000, () => false);
  if (granted.type !== 'granted') throw new Error('held');
  return granted.lease;
}

async function lead(options: Partial<CoordinatorOptions> = {}) {
  const queue = createMemoryWorkQueue();
  const delivered: WorkItem[] = [];
  queue.consume(RUN, 1_000, ({ item }) => delivered.push(item));
  const ref = system.spawn<CoordinatorMessage>(
    'coordinator',
    coordinator({
      store,
      datasetId: DATASET,
      runId: RUN,
      lease: await grantLease(),
      languages: ['english', 'french'],
      totalSamples: 4,
      limits: { openMax: 4, waitingMax: 4, consecutiveDropsMax: 3 },
      turnCountOf: () => 1,
      queue,
      fresh: true,
      livingWorkers: () => living,
      shutdownGraceMs: 5_000,
      onEnd: (outcome) => outcomes.push(outcome),
      ...options,
    }),
  );
  return { ref, queue, delivered };
}

const here = (worker: ActorRef<WorkerMessage>, more: Partial<WorkerHere> = {}): WorkerHere => ({
  type: 'WorkerHere',
  worker,
  held: [],
  claiming: [],
  lacks: [],
  trouble: null,
  drained: false,
  ...more,
});
const rank = (index: number, languageIndex = 0): Rank => ({ index, languageIndex });
const claim = (
  ref: ActorRef<CoordinatorMessage>,
  worker: ActorRef<WorkerMessage>,
  wanted: Rank,
): Promise<ClaimReply> =>
  system.ask<CoordinatorMessage, ClaimReply>(ref, (replyTo) => ({
    type: 'ClaimWork',
    rank: wanted,
    worker,
    replyTo,
  }));
const view = (ref: ActorRef<CoordinatorMessage>): Promise<RunView> =>
  system.ask<CoordinatorMessage, RunView>(ref, (replyTo) => ({ type: 'GetRunView', replyTo }));
const eventTypes = async (): Promise<string[]> =>
  (await store.journal.read(runEventsId(RUN))).map(({ event }) => decodeRunEvent(event).type);

describe('who has what', () => {
  test('I2: a conversation is granted to one worker, and to another when the first is gone', async () => {
    const { ref } = await lead();
    const [a, b] = [listener('a'), listener('b')];
    for (const { ref: worker } of [a, b]) system.tell(ref, here(worker));
    expect((await claim(ref, a.ref, rank(0))).type).toBe('granted');
    expect((await claim(ref, b.ref, rank(0))).type).toBe('held');
    expect((await claim(ref, a.ref, rank(0))).type).toBe('granted');
    await system.stopActor(a.ref);
    await until(async () => (await claim(ref, b.ref, rank(0))).type === 'granted', 'the grant to the other');
    await until(async () => (await eventTypes()).includes('WorkerLost'), 'the event');
  });

  test('what a worker had is published again as soon as it is lost', async () => {
    const { ref, delivered } = await lead();
    const a = listener('a');
    system.tell(ref, here(a.ref));
    await until(() => delivered.length === 4, 'the window in the queue');
    expect((await claim(ref, a.ref, rank(0))).type).toBe('granted');
    await system.stopActor(a.ref);
    await until(
      () => delivered.filter(({ index, languageIndex }) => index === 0 && languageIndex === 0).length === 2,
      'it again',
    );
  });

  test('nothing is granted or admitted before the living workers have said what they have, or the time for it is over', async () => {
    living = ['n', 'frozen'];
    const { ref, delivered } = await lead();
    const a = listener('a');
    system.tell(ref, here(a.ref, { held: [rank(0)] }));
    expect((await claim(ref, a.ref, rank(1))).type).toBe('not_now');
    expect(delivered).toEqual([]);
    clock.advance(2_500);
    await until(() => delivered.length > 0, 'admission');
    expect((await claim(ref, a.ref, rank(1))).type).toBe('granted');
    // What somebody had all along is not published.
    expect(delivered.map(({ index, languageIndex }) => [languageIndex, index])).not.toContainEqual([0, 0]);
  });

  test('a worker that nobody knows is told to ask again', async () => {
    const { ref } = await lead();
    const [a, b] = [listener('a'), listener('b')];
    system.tell(ref, here(a.ref));
    expect((await claim(ref, b.ref, rank(0))).type).toBe('not_now');
  });

  test('what nobody has had for a while is published again, whatever became of it', async () => {
    const { ref, delivered, queue } = await lead();
    const a = listener('a');
    system.tell(ref, here(a.ref));
    await until(() => delivered.length === 4, 'the window in the queue');
    for (let second = 0; second < 21; second += 1) {
      clock.advance(1_000);
      await view(ref);
      system.tell(ref, here(a.ref));
    }
    await until(() => delivered.length === 8, 'all of it again');
    expect(queue.waiting).toBe(0);
  });
});

describe('notices', () => {
  test('say what the run is at, carry the epoch, and come whenever something changes', async () => {
    const { ref } = await lead();
    const a = listener('a');
    system.tell(ref, here(a.ref));
    await until(() => a.heard.length > 0, 'a notice');
    expect(a.heard[0]).toEqual({
      type: 'RunNotice',
      epoch: 1,
      term: 1,
      phase: 'running',
      isLastWindow: false,
      leftLanguages: [],
      workerCount: 1,
      window: 8,
    });
    const b = listener('b');
    system.tell(ref, here(b.ref));
    await until(() => a.heard.at(-1)?.workerCount === 2, 'the second worker');
    system.tell(ref, { type: 'StopRun' });
    await until(() => b.heard.at(-1)?.phase === 'draining', 'draining');
    for (const { ref: worker } of [a, b]) system.tell(ref, here(worker, { drained: true }));
    await until(() => outcomes.length > 0, 'the end');
    expect(outcomes).toEqual([{ type: 'interrupted' }]);
    expect((await eventTypes()).at(-1)).toBe('RunEnded');
  });

  test('a worker that never drains holds the end up for the grace, no longer', async () => {
    const { ref } = await lead();
    const a = listener('a');
    system.tell(ref, here(a.ref));
    system.tell(ref, { type: 'StopRun' });
    await until(() => a.heard.at(-1)?.phase === 'draining', 'draining');
    await view(ref);
    expect(outcomes).toEqual([]);
    clock.advance(5_000);
    await until(() => outcomes.length > 0, 'the end');
  });
});

test('I2: who has lost the lease neither starts nor takes the journal of whoever has it', async () => {
  const old = await grantLease();
  const { ref } = await lead();
  system.tell(ref, here(listener('a').ref));
  await until(async () => (await eventTypes()).includes('WorkerJoined'), 'the new leader at work');
  const late = system.spawn<CoordinatorMessage>(
    'late',
    coordinator({
      store,
      datasetId: DATASET,
      runId: RUN,
      lease: old,
      languages: ['english', 'french'],
      totalSamples: 4,
      limits: { openMax: 4, waitingMax: 4, consecutiveDropsMax: 3 },
      turnCountOf: () => 1,
      queue: createMemoryWorkQueue(),
      fresh: false,
      livingWorkers: () => [],
      shutdownGraceMs: 5_000,
      onEnd: (outcome) => outcomes.push(outcome),
    }),
  );
  const ended = Promise.withResolvers<unknown>();
  system.watch(late, ({ error }) => ended.resolve(error));
  expect(await ended.promise).toMatchObject({ code: 'stale_epoch' });
  system.tell(ref, { type: 'StopRun' });
  expect((await view(ref)).phase).toBe('draining');
  clock.advance(5_000);
  await until(() => outcomes.length > 0, 'the end of the new leader’s run');
  expect(outcomes).toEqual([{ type: 'interrupted' }]);
  expect((await eventTypes()).filter((type) => type === 'CoordinatorStarted').length).toBe(1);
});

test('a worker that cannot go on gets nothing more, and the run goes on while another can', async () => {
  const { ref } = await lead();
  const [a, b] = [listener('a'), listener('b')];
  const trouble = { code: 'endpoint', message: 'no answer from here' };
  for (const { ref: worker } of [a, b]) system.tell(ref, here(worker));
  expect((await claim(ref, a.ref, rank(0))).type).toBe('granted');
  system.tell(ref, here(a.ref, { trouble }));
  expect((await claim(ref, a.ref, rank(0))).type).toBe('not_now');
  expect((await claim(ref, b.ref, rank(0))).type).toBe('granted');
  await until(() => b.heard.at(-1)?.workerCount === 1, 'the share of the other');
  expect((await view(ref)).phase).toBe('running');
  system.tell(ref, here(b.ref, { trouble, drained: true }));
  system.tell(ref, here(a.ref, { trouble, drained: true }));
  await until(() => outcomes.length === 1, 'the end');
  expect(outcomes).toEqual([{ type: 'failed', trouble }]);
});
