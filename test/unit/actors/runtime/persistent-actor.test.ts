import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type Persistence,
  persistentActor,
  type SnapshotOptions,
} from '../../../../src/actors/runtime/persistent-actor.ts';
import type { ReplyTo, Terminated } from '../../../../src/actors/runtime/types.ts';
import { DlgforgeError } from '../../../../src/kernel/errors.ts';
import { persistenceId } from '../../../../src/kernel/ids.ts';
import type { Journal } from '../../../../src/ports/store.ts';
import { MemoryJournal } from '../../../../src/store/memory-journal.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';
import { gate, startBench } from './fixtures.ts';

type Message =
  | { readonly type: 'Add'; readonly amounts: readonly number[] }
  | { readonly type: 'AddQuietly'; readonly amounts: readonly number[] }
  | { readonly type: 'Throw' }
  | { readonly type: 'Read'; readonly replyTo: ReplyTo<number> };

const ID = persistenceId('run/1/0/0');
const read = (replyTo: ReplyTo<number>): Message => ({ type: 'Read', replyTo });
const add = (...amounts: number[]): Message => ({ type: 'Add', amounts });

interface AccountOptions {
  readonly journal: Journal;
  readonly snapshot?: SnapshotOptions<number>;
  readonly seen?: Persistence<number, number>[];
}

const account = ({ journal, snapshot = { every: 0 }, seen = [] }: AccountOptions) =>
  persistentActor<number, number, Message>({
    kind: 'account',
    id: ID,
    journal,
    initial: 0,
    evolve: (sum, amount) => sum + amount,
    decodeEvent: (stored) => {
      if (typeof stored !== 'number') throw new Error('not a number');
      return stored;
    },
    snapshot,
    behave(context, persistence) {
      seen.push(persistence);
      return {
        async receive(message) {
          if (message.type === 'Throw') throw new Error('told to throw');
          if (message.type === 'Read') return context.reply(message.replyTo, persistence.state);
          const persisted = persistence.persist(message.amounts);
          await (message.type === 'Add' ? persisted : persisted.catch(() => undefined));
        },
      };
    },
  });

/** A journal that does what a test says before the real one does its part. */
const intercepted = (
  journal: Journal,
  before: Partial<{ append(): Promise<void>; saveSnapshot(): Promise<void> }>,
): Journal => ({
  recover: (id) => journal.recover(id),
  async append(...given) {
    await before.append?.();
    return journal.append(...given);
  },
  async saveSnapshot(...given) {
    await before.saveSnapshot?.();
    return journal.saveSnapshot(...given);
  },
  read: (...given) => journal.read(...given),
  pick: (...given) => journal.pick(...given),
  peek: (id) => journal.peek(id),
  list: (prefix) => journal.list(prefix),
});

test('the state survives failures and systems, and shows an event only when it is durable (I1)', async () => {
  const journal = new MemoryJournal(new SimulatedClock());
  const hold = gate();
  const seen: Persistence<number, number>[] = [];
  const bench = startBench();
  const ref = bench.system.spawn(
    'account',
    account({ journal: intercepted(journal, { append: () => hold.promise }), seen }),
  );
  bench.system.tell(ref, add(1, 2));
  await bench.settle();
  expect(seen[0]).toMatchObject({ id: ID, state: 0, seq: 0 });
  hold.resolve();
  await bench.settle();
  expect(seen[0]).toMatchObject({ state: 3, seq: 2 });
  bench.system.tell(ref, { type: 'Throw' });
  bench.system.tell(ref, add(4));
  await bench.until(() => seen.length === 2);
  await bench.settle();
  expect(seen[1]).toMatchObject({ state: 7, seq: 3, epoch: 2 });
  await bench.system.stop();

  const next = startBench();
  expect(await next.system.ask(next.system.spawn('account', account({ journal })), read)).toBe(7);
});

test('whatever is persisted, with snapshots, failures and restarts, is what a recovery shows', async () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc
        .array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 4 })
        .map((amounts) => add(...amounts)),
    },
    { weight: 1, arbitrary: fc.constant<Message>({ type: 'Throw' }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.nat(4), async (steps, every) => {
      const bench = startBench();
      const journal = new MemoryJournal(bench.clock);
      const definition = { ...account({ journal, snapshot: { every } }), restart: { maxRestarts: 100 } };
      const ref = bench.system.spawn('account', definition);
      for (const message of steps) bench.system.tell(ref, message);
      const expected = steps
        .flatMap((message) => ('amounts' in message ? message.amounts : []))
        .reduce((a, b) => a + b, 0);
      let sum: number | null = null;
      void bench.system.ask(ref, read, { timeoutMs: 1e9 }).then((answer: number) => {
        sum = answer;
      });
      await bench.until(() => sum !== null, 1e9);
      expect(sum).toBe(expected);
      const stored = await journal.read(ID);
      expect(stored.reduce((total, { event }) => total + (event as number), 0)).toBe(expected);
      await bench.system.stop();
    }),
    { numRuns: 40 },
  );
});

test('stale_epoch ends the actor for good, even when its handler hides the failure (I2)', async () => {
  const bench = startBench();
  const journal = new MemoryJournal(bench.clock);
  const heard: Terminated[] = [];
  const ref = bench.system.spawn('account', account({ journal }));
  bench.system.watch(ref, (terminated) => heard.push(terminated));
  await bench.settle();
  const taken = await journal.recover(ID);
  bench.system.tell(ref, { type: 'AddQuietly', amounts: [1] });
  bench.system.tell(ref, add(2));
  await bench.settle();
  expect(heard).toMatchObject([{ reason: 'given_up', error: { code: 'stale_epoch' } }]);
  expect(bench.deadLetters).toMatchObject([{ reason: 'stopped', message: add(2) }]);
  expect((await journal.recover(ID)).epoch).toBe(taken.epoch + 1);
  expect(await journal.read(ID)).toEqual([]);
});

test('a restart does not take the journal from whoever has gone on with it (I2)', async () => {
  const bench = startBench();
  const journal = new MemoryJournal(bench.clock);
  const heard: Terminated[] = [];
  const ref = bench.system.spawn('account', account({ journal }));
  bench.system.watch(ref, (terminated) => heard.push(terminated));
  bench.system.tell(ref, { type: 'Throw' });
  bench.system.tell(ref, add(1));
  let stored = 0;
  await bench.until(() => {
    void journal.read(ID).then((events) => (stored = events.length));
    return stored === 1;
  }, 1e6);
  const taken = await journal.recover(ID);
  bench.system.tell(ref, { type: 'Throw' });
  await bench.until(() => heard.length === 1, 1e6);
  expect(heard).toMatchObject([{ reason: 'given_up', error: { code: 'stale_epoch' } }]);
  await journal.append(ID, taken.epoch, 1, [2]);
});

test('whether the journal is still its own can be asked; when it is not, the actor ends (I2)', async () => {
  const bench = startBench();
  const journal = new MemoryJournal(bench.clock);
  const seen: Persistence<number, number>[] = [];
  const heard: Terminated[] = [];
  const ref = bench.system.spawn('account', account({ journal, seen }));
  bench.system.watch(ref, (terminated) => heard.push(terminated));
  bench.system.tell(ref, add(1));
  await bench.settle();
  const [persistence] = seen;
  await persistence?.confirm();
  expect(await journal.read(ID)).toHaveLength(1);
  await journal.recover(ID);
  await expect(persistence?.confirm()).rejects.toMatchObject({ code: 'stale_epoch' });
  await bench.settle();
  expect(heard).toMatchObject([{ reason: 'given_up', error: { code: 'stale_epoch' } }]);
});

test('a failed append fails the actor, and the recovery tells whether it was written', async () => {
  const bench = startBench();
  const journal = new MemoryJournal(bench.clock);
  let lost = 0;
  const unsure: Journal = {
    ...intercepted(journal, {}),
    async append(...given) {
      await journal.append(...given);
      if (lost === 0) {
        lost += 1;
        throw new DlgforgeError('store', 'the connection was lost before the answer came', {
          retryable: true,
        });
      }
    },
  };
  const seen: Persistence<number, number>[] = [];
  const ref = bench.system.spawn('account', account({ journal: unsure, seen }));
  bench.system.tell(ref, { type: 'AddQuietly', amounts: [5] });
  bench.system.tell(ref, add(1));
  await bench.until(() => seen.length === 2);
  await bench.settle();
  expect(lost).toBe(1);
  expect(seen[0]?.state).toBe(0);
  await expect(seen[0]?.persist([7])).rejects.toMatchObject({ code: 'store' });
  expect(seen[1]?.state).toBe(6);
});

test('appends that are not waited for keep their order', async () => {
  const bench = startBench();
  const journal = new MemoryJournal(bench.clock);
  const seen: Persistence<number, number>[] = [];
  bench.system.spawn('account', account({ journal, seen }));
  await bench.settle();
  await Promise.all([seen[0]?.persist([1]), seen[0]?.persist([]), seen[0]?.persist([2, 3])]);
  expect((await journal.read(ID)).map(({ event }) => event)).toEqual([1, 2, 3]);
});

test('snapshots are taken every so many events, shorten recovery, and one that fails is tried again', async () => {
  const bench = startBench();
  const memory = new MemoryJournal(bench.clock);
  let failures = 0;
  const journal = intercepted(memory, {
    async saveSnapshot() {
      if (failures === 0) {
        failures += 1;
        throw new DlgforgeError('store', 'disk full');
      }
    },
  });
  const options = {
    journal,
    snapshot: {
      every: 4,
      encode: (sum: number) => ({ sum }),
      decode: (stored: unknown) => (stored as { sum: number }).sum,
    },
  };
  const ref = bench.system.spawn('account', account(options));
  for (let i = 0; i < 5; i += 1) bench.system.tell(ref, add(1));
  await bench.settle();
  expect(failures).toBe(1);
  expect((await memory.peek(ID)).snapshot).toBeNull();
  expect(bench.log.map(({ message }) => message)).toEqual([
    `[actor] no snapshot of ${ID} at 4, next try at 6: disk full`,
  ]);
  for (let i = 0; i < 2; i += 1) bench.system.tell(ref, add(1));
  await bench.settle();
  expect(await memory.peek(ID)).toMatchObject({ snapshot: { seq: 6, state: { sum: 6 } }, lastSeq: 7 });
  await bench.system.stop();
  const next = startBench();
  expect(await next.system.ask(next.system.spawn('account', account(options)), read)).toBe(7);
});

test('a snapshot of a form that is no longer understood is left aside', async () => {
  const bench = startBench();
  const journal = new MemoryJournal(bench.clock);
  const { epoch } = await journal.recover(ID);
  await journal.append(ID, epoch, 0, [1, 2, 3]);
  await journal.saveSnapshot(ID, epoch, 2, { old: true });
  const definition = account({ journal, snapshot: { every: 0, decode: () => null } });
  expect(await bench.system.ask(bench.system.spawn('account', definition), read)).toBe(6);
});

test('an event that cannot be read fails the start, and a store that is away is waited for', async () => {
  const bench = startBench();
  const memory = new MemoryJournal(bench.clock);
  let away = 3;
  const journal: Journal = {
    ...intercepted(memory, {}),
    async recover(id) {
      away -= 1;
      if (away > 0) throw new DlgforgeError('store', 'no connection', { retryable: true });
      return memory.recover(id);
    },
  };
  let answer: number | null = null;
  void bench.system.ask(bench.system.spawn('account', account({ journal })), read).then((sum: number) => {
    answer = sum;
  });
  await bench.until(() => answer === 0);
  expect(bench.system.tree()[0]?.restarts).toBe(2);

  const { epoch } = await memory.recover(ID);
  await memory.append(ID, epoch, 0, ['not a number']);
  const heard: Terminated[] = [];
  const unreadable = bench.system.spawn('unreadable', {
    ...account({ journal: memory }),
    restart: { maxRestarts: 1 },
  });
  bench.system.watch(unreadable, (terminated) => heard.push(terminated));
  await bench.until(() => heard.length === 1);
  expect(heard[0]).toMatchObject({ reason: 'given_up', error: { message: 'not a number' } });
});

test('the end waits for what is being written', async () => {
  const bench = startBench();
  const memory = new MemoryJournal(bench.clock);
  const hold = gate();
  const journal = intercepted(memory, { saveSnapshot: () => hold.promise });
  const ref = bench.system.spawn('account', account({ journal, snapshot: { every: 1 } }));
  bench.system.tell(ref, add(1));
  await bench.settle();
  let ended = false;
  const stopping = bench.system.stop().then(() => {
    ended = true;
  });
  await bench.settle();
  expect(ended).toBe(false);
  hold.resolve();
  await stopping;
  expect((await memory.peek(ID)).snapshot).toMatchObject({ seq: 1, state: 1 });
});
