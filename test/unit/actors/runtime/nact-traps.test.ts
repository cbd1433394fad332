/**
 * nact 7.6.2 has traps, each reproduced once; these tests hold our repair of each, by its number in
 * docs/decisions/nact.md.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Branches } from '../../../../src/actors/runtime/branches.ts';
import {
  type Carried,
  dispatchNact,
  spawnNact,
  startNact,
  stopNact,
} from '../../../../src/actors/runtime/nact.ts';
import { persistentActor } from '../../../../src/actors/runtime/persistent-actor.ts';
import { type ActorRef, actorRef, type Terminated } from '../../../../src/actors/runtime/types.ts';
import { DlgforgeError } from '../../../../src/kernel/errors.ts';
import { persistenceId } from '../../../../src/kernel/ids.ts';
import { MemoryJournal } from '../../../../src/store/memory-journal.ts';
import { actor, counter, gate, read, startBench } from './fixtures.ts';

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

test('trap 1: stopping a parent, or the system, stops the children first, and their queues with them', async () => {
  const { system, settle } = startBench();
  const log: string[] = [];
  const kid = actor<number>(() => ({
    receive: async (message) => {
      log.push(`kid ${message}`);
      await turns(3);
    },
    stopped: () => void log.push('kid stopped'),
  }));
  const parent = actor<string>((context) => {
    const child = context.spawn('kid', kid);
    for (let message = 1; message <= 9; message += 1) context.tell(child, message);
    return { receive: () => undefined, stopped: () => void log.push('parent stopped') };
  });
  system.spawn('parent', parent);
  await turns(2);
  await system.stop();
  await settle();
  expect(log).toEqual(['kid 1', 'kid stopped', 'parent stopped']);
  expect(system.deadLetterCount).toBe(8);
});

test('trap 2: with thousands in flight every ask gets its own answer', async () => {
  const { system } = startBench();
  const ref = system.spawn(
    'echo',
    actor<{ readonly value: number; readonly replyTo: Parameters<typeof system.reply>[0] }>(
      (context) => (message) => {
        context.reply(message.replyTo, message.value);
      },
      { mailbox: { capacity: 5_000 } },
    ),
  );
  const values = Array.from({ length: 5_000 }, (_, value) => value);
  const answers = await Promise.all(
    values.map((value) => system.ask(ref, (replyTo) => ({ value, replyTo }))),
  );
  expect(answers).toEqual(values);
  expect(system.pendingAskCount).toBe(0);
});

test('traps 2, 3, 6, 12: only one file imports nact, and only what can be relied on', () => {
  const imports = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => {
      const text = readFileSync(`src/${file}`, 'utf8');
      return [...text.matchAll(/import (.*) from 'nact[^']*'|import\('nact|require\('nact/g)].map(
        ([whole]) => `${file}: ${whole}`,
      );
    });
  expect(imports).toEqual(["actors/runtime/nact.ts: import { dispatch, spawn, start, stop } from 'nact'"]);
});

test('trap 3: a handler that rejects is counted, logged and supervised, never swallowed', async () => {
  const { system, log, until } = startBench();
  const ref = system.spawn(
    'rejects',
    actor<string>(() => () => Promise.reject(new Error('rejected'))),
  );
  system.tell(ref, 'go');
  await until(() => system.tree()[0]?.restarts === 1);
  expect(log).toEqual([
    { level: 'warn', message: '[actor] rejects (test) failed and restarts in 100 ms: rejected' },
  ]);
});

test('trap 4: a failure keeps the mailbox; after the end messages are dead letters and asks fail at once', async () => {
  const { system, settle, deadLetters } = startBench();
  const ref = system.spawn('counter', counter({ restart: { maxRestarts: 0 } }));
  system.tell(ref, { type: 'Throw' });
  system.tell(ref, { type: 'Add', amount: 1 });
  const waiting = expect(system.ask(ref, read)).rejects.toMatchObject({ code: 'receiver_gone' });
  await settle();
  await waiting;
  system.tell(ref, { type: 'Add', amount: 2 });
  expect(deadLetters.map(({ reason }) => reason)).toEqual(['stopped', 'no_such_actor']);
});

test('trap 5: hooks of nact that fail neither wedge the actor nor end the process', async () => {
  const faults: unknown[] = [];
  const carried: Carried = {
    turn() {
      throw new Error('turn');
    },
    crashed: () => Promise.reject(new Error('crashed')),
    drained() {
      throw new Error('drained');
    },
    broken: (error) => faults.push(error),
  };
  const system = startNact('trap-5');
  const ref = spawnNact(system, 'hooks', carried);
  dispatchNact(ref);
  dispatchNact(ref);
  await turns(10);
  expect(faults).toMatchObject([{ message: 'crashed' }, { message: 'drained' }]);
  stopNact(system);
});

test.each(['throws', 'rejects'])(
  'trap 5: a `stopped` that %s is logged, and the stop goes on',
  async (how) => {
    const { system, settle, log } = startBench();
    const stopped = (): Promise<void> => {
      if (how === 'throws') throw new Error('not closed');
      return Promise.reject(new Error('not closed'));
    };
    system.spawn(
      'untidy',
      actor<string>(() => ({ receive: () => undefined, stopped })),
    );
    await settle();
    await system.stop();
    expect(log).toMatchObject([{ level: 'error', message: expect.stringContaining('not closed') as string }]);
  },
);

test('trap 6: after an escalation the parent never runs two handlers at once, and the child is not wedged', async () => {
  const { system, until } = startBench();
  let running = 0;
  let most = 0;
  let handled = 0;
  let childHandled = 0;
  const child = actor<string>(
    () => (message) => {
      if (message === 'throw') throw new Error('child');
      childHandled += 1;
    },
    { restart: { maxRestarts: 0, onGivenUp: 'escalate' } },
  );
  const ref = system.spawn(
    'parent',
    actor<number>((context) => {
      const kid = context.spawn('child', child);
      context.tell(kid, 'hello');
      return async (message) => {
        running += 1;
        most = Math.max(most, running);
        if (message === 0) context.tell(kid, 'throw');
        await turns(4);
        running -= 1;
        handled += 1;
      };
    }),
  );
  for (let message = 0; message < 8; message += 1) system.tell(ref, message);
  await until(() => handled === 8 && childHandled === 2);
  expect(most).toBe(1);
  expect(system.tree().map(({ restarts }) => restarts)).toEqual([1, 0]);
});

test('trap 7: `stopped` runs after the handler in hand has ended, and the handler hears of the stop', async () => {
  const { system, settle } = startBench();
  const log: string[] = [];
  const ref = system.spawn(
    'busy',
    actor<string>((context) => ({
      async receive() {
        log.push('start');
        await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
        log.push('told to stop');
        await turns(5);
        log.push('end');
      },
      stopped: () => void log.push('stopped'),
    })),
  );
  system.tell(ref, 'go');
  await settle();
  await system.stop();
  expect(log).toEqual(['start', 'told to stop', 'end', 'stopped']);
});

test('trap 8: mailboxes are bounded, signals go first, deaths are watched, names are free text', async () => {
  const { system, settle } = startBench();
  const heard: Terminated[] = [];
  const hold = gate();
  let handled = 0;
  const busy = actor<string>(
    (context) => async (message) => {
      handled += 1;
      if (message === 'last') context.stopSelf();
      await hold.promise;
    },
    { mailbox: { capacity: 50 } },
  );
  const ref = system.spawn('Ünïcode ~ % name', busy);
  system.watch(ref, (terminated) => heard.push(terminated));
  system.tell(ref, 'last');
  for (let i = 0; i < 100; i += 1) system.tell(ref, 'more');
  await settle();
  hold.resolve();
  await settle();
  expect(handled).toBe(1);
  expect(heard).toMatchObject([{ reason: 'stopped' }]);
  expect(system.deadLetterCount).toBe(100);
});

test("trap 9: state is the behaviour's own, whatever a handler returns; sends to oneself queue up behind", async () => {
  const { system, settle } = startBench();
  const seen: number[] = [];
  const ref: ActorRef<number> = system.spawn(
    'self',
    actor<number>((context) => {
      let count = 0;
      return (message) => {
        count += 1;
        seen.push(message * 10 + count);
        if (message === 1) context.tell(context.self, 3);
      };
    }),
  );
  system.tell(ref, 1);
  system.tell(ref, 2);
  await settle();
  expect(seen).toEqual([11, 22, 33]);
});

test('trap 10: two systems of one name in one process are two', async () => {
  const [first, second] = [startBench(), startBench()];
  const seen: string[] = [];
  const old = first.system.spawn(
    'x',
    actor<string>(() => () => void seen.push('first')),
  );
  second.system.spawn(
    'x',
    actor<string>(() => () => void seen.push('second')),
  );
  second.system.tell(old, 'hello');
  first.system.tell(old, 'hello');
  await first.settle();
  expect(seen).toEqual(['first']);
  expect(second.deadLetters).toMatchObject([{ reason: 'old_incarnation' }]);
});

test('trap 11: a reference takes the messages of its actor and no others', () => {
  const { system } = startBench();
  const numbers: ActorRef<number> = actorRef('a', 'numbers');
  // @ts-expect-error a reference to an actor of numbers is none to an actor of texts
  const texts: ActorRef<string> = numbers;
  // @ts-expect-error it takes numbers
  system.tell(numbers, 'text');
  expect(texts).toBe(numbers);
});

test('trap 12: an actor whose journal is away at recovery never runs on its initial state', async () => {
  const { system, clock, until, settle } = startBench();
  const journal = new MemoryJournal(clock);
  const id = persistenceId('trap/12');
  const { epoch } = await journal.recover(id);
  await journal.append(id, epoch, 0, [3_000]);
  const recover = journal.recover.bind(journal);
  let away = true;
  journal.recover = (wanted) =>
    away ? Promise.reject(new DlgforgeError('store', 'away', { retryable: true })) : recover(wanted);
  const answers: number[] = [];
  const definition = persistentActor<number, number, string>({
    kind: 'sum',
    id,
    journal,
    initial: 0,
    evolve: (sum, amount) => sum + amount,
    behave: (_context, persistence) => ({ receive: () => void answers.push(persistence.state) }),
  });
  system.tell(system.spawn('sum', definition), 'say');
  await settle();
  expect(answers).toEqual([]);
  away = false;
  await until(() => answers.length === 1);
  expect(answers).toEqual([3_000]);
});

test('a parent of many children keeps them under hidden branches, and is flat for its callers', async () => {
  const { system, settle } = startBench();
  const refs: ActorRef<string>[] = [];
  let handled = 0;
  system.spawn(
    'parent',
    actor<string>((context) => {
      const child = actor<string>(() => () => void (handled += 1));
      for (let index = 0; index < 500; index += 1) refs.push(context.spawn(`child-${index}`, child));
      return () => undefined;
    }),
  );
  await settle();
  for (const ref of refs) system.tell(ref, 'hello');
  await settle();
  expect(handled).toBe(500);
  expect(
    new Set(
      system
        .tree()
        .slice(1)
        .map(({ path }) => path.split('/').length),
    ),
  ).toEqual(new Set([2]));

  const root = startNact('branches');
  const branches = new Branches(root);
  const used = Array.from({ length: 1_000 }, () => {
    const branch = branches.withRoom();
    branch.used += 1;
    return branch;
  });
  expect(Math.max(...used.map((branch) => branch.used))).toBeLessThanOrEqual(100);
  expect(new Set(used).size).toBeLessThanOrEqual(11);
  stopNact(root);
  await turns(2);
});

test('a parent may have any number of children in its life, and so many at once', async () => {
  const { system, settle } = startBench();
  const rounds: number[] = [];
  const child = actor<string>(() => () => undefined);
  const parent = system.spawn(
    'parent',
    actor<number>((context) => async (round) => {
      const names = Array.from({ length: 100 }, (_, index) => `child ${index}`);
      await Promise.all(names.map((name) => context.stop(context.spawn(name, child))));
      rounds.push(round);
    }),
  );
  for (let round = 0; round < 120; round += 1) system.tell(parent, round);
  await settle();
  expect(rounds).toHaveLength(120);

  const crowd = system.spawn(
    'crowd',
    actor<string>(
      (context) => () => {
        for (let index = 0; ; index += 1) context.spawn(`${index}`, child);
      },
      { restart: { maxRestarts: 0 } },
    ),
  );
  const heard: Terminated[] = [];
  system.watch(crowd, (terminated) => heard.push(terminated));
  system.tell(crowd, 'grow');
  await settle();
  expect(heard).toMatchObject([{ reason: 'given_up', error: { code: 'overloaded' } }]);
});
