import { afterEach, beforeEach, expect, test } from 'vitest';
import type { RunDirectory } from '../../../src/actors/directory.ts';
import type { ActorRef, ActorSystem, ReplyTo } from '../../../src/actors/runtime/types.ts';
import type {
  ClaimReply,
  CommitterMessage,
  CoordinatorMessage,
  RunNotice,
  WorkerHere,
  WorkerMessage,
} from '../../../src/actors/messages.ts';
import { createActorSystem } from '../../../src/actors/runtime/actor-system.ts';
import { worker } from '../../../src/actors/worker.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import type { Journal } from '../../../src/ports/store.ts';
import type { Delivery, WorkQueue } from '../../../src/ports/work-queue.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { createMemoryWorkQueue, type MemoryWorkQueue } from '../../../src/transport/memory-work-queue.ts';
import { dialogueOf, INPUTS } from '../../support/dialogue-context.ts';
import { SimulatedClock } from '../../support/simulated-clock.ts';
import { until } from '../../support/simulation.ts';

let clock: SimulatedClock;
let system: ActorSystem;
let queue: MemoryWorkQueue;
/** What became of deliveries, in order. */
let settled: string[];
let heard: WorkerHere[];
let answer: ClaimReply['type'];
let claims: number;
let leader: ActorRef<CoordinatorMessage> | null;
let changed: () => void;

beforeEach(() => {
  clock = new SimulatedClock(1_000);
  system = createActorSystem({ node: 'n', logger: silentLogger, clock, strictMessages: true });
  queue = createMemoryWorkQueue();
  [settled, heard, answer, claims] = [[], [], 'not_now', 0];
  leader = system.spawn<CoordinatorMessage>('coordinator', {
    kind: 'coordinator',
    start: (context) => ({
      receive(message) {
        if (message.type === 'WorkerHere') heard.push(message);
        if (message.type !== 'ClaimWork') return;
        claims += 1;
        context.reply(message.replyTo, { epoch: 5, type: answer });
      },
    }),
  });
});
afterEach(() => system.stop());

/** The queue, but what workers do with their deliveries is noted. */
const observed = (): WorkQueue => ({
  ...queue,
  consume: (id, capacity, deliver) =>
    queue.consume(id, capacity, (delivery) => {
      const noted = (how: 'ack' | 'release' | 'forget') => (): void => {
        settled.push(`${how} ${delivery.item.index}`);
        delivery[how]();
      };
      const watched: Delivery = {
        ...delivery,
        ack: noted('ack'),
        release: noted('release'),
        forget: noted('forget'),
      };
      deliver(watched);
    }),
});

function startWorker(
  lacks: readonly string[] = [],
  more: { readonly journal?: Journal; readonly committer?: RunDirectory['committer'] } = {},
): ActorRef<WorkerMessage> {
  const directory: RunDirectory = {
    coordinator: () => leader,
    committer: more.committer ?? (() => null),
    wave: () => null,
    retriever: () => null,
    epoch: () => 5,
    contacts: () => 1,
    onLeaderChange(listener) {
      changed = listener;
      return () => undefined;
    },
    isLastWindow: false,
  };
  return system.spawn(
    'worker',
    worker({
      runId: 'R',
      dialogue: dialogueOf({}),
      inputs: INPUTS,
      journal: more.journal ?? new MemoryStore().journal,
      modelCalls: { call: () => Promise.reject(new Error('nothing is asked here')) } as never,
      usedName: () => '',
      webSearch: null,
      directory,
      queue: observed(),
      lacks,
    }),
  );
}

const notice = (more: Partial<RunNotice> = {}): RunNotice => ({
  type: 'RunNotice',
  epoch: 5,
  term: 1,
  phase: 'running',
  isLastWindow: false,
  leftLanguages: [],
  workerCount: 1,
  window: 8,
  ...more,
});
const publish = (index: number): void =>
  queue.publish({ runId: 'R', languageIndex: 0, index, priority: index });

test('it takes nothing before it has heard how much it may, and then its share', async () => {
  const ref = startWorker();
  for (let index = 0; index < 100; index += 1) publish(index);
  await until(() => heard.length > 0, 'a report');
  expect(queue.waiting).toBe(100);
  system.tell(ref, notice({ window: 40, workerCount: 2 }));
  await until(() => queue.waiting === 70, 'one and a half times its share');
  system.tell(ref, notice({ window: 40, workerCount: 20 }));
  await until(() => claims > 0, 'claims');
  expect(queue.waiting).toBe(70);
});

test('it asks before it starts a conversation, again until it is told, and obeys', async () => {
  const ref = startWorker();
  system.tell(ref, notice());
  publish(1);
  await until(() => claims === 1, 'the first claim');
  await clock.settle();
  expect([queue.waiting, settled]).toEqual([0, []]);
  // Nobody leads: it stays in hand.
  const before = leader;
  leader = null;
  clock.advance(250);
  await clock.settle();
  clock.advance(250);
  await clock.settle();
  expect([claims, settled]).toEqual([1, []]);
  leader = before;
  answer = 'held';
  clock.advance(250);
  await until(() => settled.length === 1, 'its end');
  expect(settled).toEqual(['forget 1']);
  answer = 'settled';
  publish(2);
  await until(() => settled.length === 2, 'the end of the next');
  answer = 'left';
  publish(3);
  await until(() => settled.length === 3, 'the end of the last');
  expect(settled).toEqual(['forget 1', 'ack 2', 'ack 3']);
});

test('I2: what an older leader says is not heeded', async () => {
  const ref = startWorker();
  system.tell(ref, notice({ epoch: 5, term: 7, phase: 'paused' }));
  publish(1);
  await clock.settle();
  for (const old of [notice({ epoch: 4, term: 99 }), notice({ epoch: 5, term: 6 })]) system.tell(ref, old);
  await clock.settle();
  expect(claims).toBe(0);
  system.tell(ref, notice({ epoch: 6, term: 1 }));
  await until(() => claims === 1, 'the claim under the newest');
  // Nor is a grant under an older lease than the newest that it has heard of.
  answer = 'granted';
  clock.advance(250);
  await clock.settle();
  expect(system.tree().filter(({ kind }) => kind === 'conversation')).toEqual([]);
});

test('it reports every second, and at once when the run has another leader', async () => {
  const ref = startWorker();
  await until(() => heard.length === 1, 'the first report');
  clock.advance(1_000);
  await until(() => heard.length === 2, 'the second');
  changed();
  await until(() => heard.length === 3, 'the third');
  system.tell(ref, notice({ term: 2 }));
  await until(() => heard.length === 4, 'the answer to a new life of the leader');
  system.tell(ref, notice({ term: 2, phase: 'draining' }));
  await until(() => heard.length === 5, 'that it is drained');
  expect(heard.map(({ drained }) => drained)).toEqual([false, false, false, false, true]);
});

test('one that lacks a key takes nothing and says what', async () => {
  const ref = startWorker(['OPENAI_API_KEY']);
  system.tell(ref, notice());
  publish(1);
  await until(() => heard.length > 1, 'reports');
  expect([heard.at(-1)?.lacks, queue.waiting, claims]).toEqual([['OPENAI_API_KEY'], 1, 0]);
});

test('what it has not begun goes back at once when its node leaves', async () => {
  const ref = startWorker();
  system.tell(ref, notice());
  for (const index of [1, 2]) publish(index);
  await until(() => claims === 2, 'two claims');
  clock.advance(250);
  const done = system.ask(
    ref,
    (replyTo: ReplyTo<'handed_back'>): WorkerMessage => ({ type: 'HandBack', replyTo }),
  );
  expect(await done).toBe('handed_back');
  expect(settled.toSorted()).toEqual(['release 1', 'release 2']);
  expect(queue.waiting).toBe(2);
  publish(3);
  await clock.settle();
  expect(queue.waiting).toBe(3);
});

const trouble = { code: 'endpoint', message: 'away' };

test('a run-level trouble is said until somebody has heard it, and not to a run that is resumed', async () => {
  const ref = startWorker();
  await until(() => heard.length === 1, 'a report');
  system.tell(ref, { type: 'ReportTrouble', trouble });
  await until(() => heard.at(-1)?.trouble !== null, 'the trouble');
  clock.advance(1_000);
  await until(() => heard.length === 3, 'another report');
  expect(heard.at(-1)?.trouble).toEqual(trouble);
  system.tell(ref, notice({ phase: 'draining' }));
  await until(() => heard.length === 4, 'the report of a worker that is drained');
  // What a new coordinator hears before it has said anything.
  changed();
  await until(() => heard.length === 5, 'a report');
  expect(heard.slice(3).map((report) => report.trouble)).toEqual([null, null]);
  system.tell(ref, notice({ term: 2 }));
  publish(1);
  await until(() => claims === 1, 'it is tried anew');
});

test('what it had goes to others when it cannot go on, and it takes nothing more', async () => {
  const ref = startWorker();
  system.tell(ref, notice());
  for (const index of [1, 2]) publish(index);
  await until(() => claims === 2, 'two claims');
  const before = heard.length;
  system.tell(ref, { type: 'ReportTrouble', trouble });
  clock.advance(250);
  await until(() => settled.length === 2, 'the queue to hear of both');
  expect(settled.toSorted()).toEqual(['release 1', 'release 2']);
  // The trouble, and once for all that left.
  await until(() => heard.length - before === 2, 'two reports');
  publish(3);
  await clock.settle();
  expect(queue.waiting).toBe(3);
  // A minute later it tries again: what was the matter may have passed.
  for (let second = 0; second < 61; second += 1) {
    clock.advance(1_000);
    await clock.settle();
  }
  await until(() => claims > 2, 'it takes work again');
  expect(heard.at(-1)?.trouble).toBeNull();
});

test('however wide the window is, it takes no more than a report can name', async () => {
  const ref = startWorker();
  system.tell(ref, notice({ window: 50_000 }));
  for (let index = 0; index < 6_000; index += 1) publish(index);
  await until(() => queue.waiting === 1_000, 'the most that it takes');
});

test('I2: a conversation that failed again and again is dropped by the worker that it was granted to, and by no other', async () => {
  const { journal } = new MemoryStore();
  const unreadable = Object.assign(Object.create(journal) as Journal, {
    recover: () => Promise.reject(new Error('a row that cannot be read')),
  });
  const dropped: number[] = [];
  const committer = system.spawn<CommitterMessage>('committer', {
    kind: 'committer',
    start: () => ({
      receive: (message) => void (message.type === 'HandOver' && dropped.push(message.rank.index)),
    }),
  });
  const ref = startWorker([], { journal: unreadable, committer: () => committer });
  answer = 'granted';
  system.tell(ref, notice());
  for (const index of [1, 2]) publish(index);
  await until(() => claims === 2, 'the grants');
  answer = 'not_now';
  await passing(() => claims >= 4, 'to be asked whose they are');
  expect(dropped).toEqual([]);
  answer = 'held';
  await passing(() => settled.length === 2, 'them to be let go');
  expect(settled.toSorted()).toEqual(['forget 1', 'forget 2']);
  expect(dropped).toEqual([]);

  answer = 'granted';
  publish(3);
  await passing(() => dropped.includes(3), 'the drop of the one that is its own');
});

/** Time passes until it holds. */
const passing = (holds: () => boolean, what: string): Promise<void> =>
  until(async () => {
    clock.advance(1_000);
    await clock.settle();
    return holds();
  }, what);
