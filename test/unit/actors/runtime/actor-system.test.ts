import { expect, test } from 'vitest';
import {
  type ActorRef,
  actorRef,
  type ReplyTo,
  type Terminated,
} from '../../../../src/actors/runtime/types.ts';
import { DlgforgeError, InvariantError } from '../../../../src/kernel/errors.ts';
import { actor, type CounterMessage, counter, gate, read, startBench } from './fixtures.ts';

const add = (amount: number): CounterMessage => ({ type: 'Add', amount });

test('an actor handles what it is told in order, one at a time, and answers', async () => {
  const { system, settle } = startBench();
  const seen: string[] = [];
  const ref = system.spawn(
    'slow',
    actor<number>(() => async (message) => {
      seen.push(`begin ${message}`);
      await Promise.resolve();
      seen.push(`end ${message}`);
    }),
  );
  for (const message of [1, 2, 3]) system.tell(ref, message);
  await settle();
  expect(seen).toEqual(['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 3', 'end 3']);
});

test('messages wait for an asynchronous start', async () => {
  const { system, settle } = startBench();
  const recovered = gate();
  const seen: number[] = [];
  const ref = system.spawn<number>('late', {
    kind: 'test',
    async start() {
      await recovered.promise;
      return { receive: (message) => void seen.push(message) };
    },
  });
  system.tell(ref, 1);
  await settle();
  expect(seen).toEqual([]);
  expect(system.tree()[0]).toMatchObject({ state: 'starting', mailboxLength: 1, handlingSinceMs: 0 });
  recovered.resolve();
  await settle();
  expect(seen).toEqual([1]);
  expect(system.tree()[0]).toMatchObject({ state: 'running', mailboxLength: 0, handlingSinceMs: null });
});

test('a full mailbox refuses an ask at once, and makes a dead letter of a tell as an error of its sender', async () => {
  const { system, deadLetters, log, settle } = startBench();
  const hold = gate();
  const ref = system.spawn(
    'busy',
    actor<CounterMessage>(() => () => hold.promise, { mailbox: { capacity: 2 } }),
  );
  const sender = system.spawn(
    'sender',
    actor<string>((context) => () => context.tell(ref, add(4))),
  );
  system.tell(ref, add(1));
  await settle();
  system.tell(ref, add(2));
  system.tell(ref, add(3));
  await expect(system.ask(ref, read)).rejects.toMatchObject({ code: 'overloaded', retryable: true });
  system.tell(sender, 'go');
  await settle();
  expect(deadLetters).toEqual([{ to: ref, reason: 'overloaded', sender: 'sender', message: add(4) }]);
  expect(system.deadLetterCount).toBe(1);
  expect(log.filter(({ level }) => level === 'error').map(({ message }) => message)).toEqual([
    '[dead-letter] overloaded: Add to a/busy from sender',
  ]);
  hold.resolve();
  await settle();
  system.tell(ref, add(5));
  expect(system.deadLetterCount).toBe(1);
});

test('an actor hears of its own timers, promises and watches although its mailbox is full', async () => {
  const { system, settle, until } = startBench();
  const hold = gate();
  const seen: string[] = [];
  const child = actor<string>((context) => () => context.stopSelf());
  const ref = system.spawn(
    'busy',
    actor<string>(
      (context) => {
        const watched = context.spawn('child', child);
        return async (message) => {
          seen.push(message);
          if (message !== 'first') return;
          context.watch(watched, () => 'watch');
          context.tell(watched, 'end');
          context.pipe(Promise.resolve(), () => 'pipe', String);
          context.after(5, 'timer');
          await hold.promise;
        };
      },
      { mailbox: { capacity: 2 } },
    ),
  );
  system.tell(ref, 'first');
  system.tell(ref, 'second');
  await until(() => system.tree()[0]?.mailboxLength === 4);
  hold.resolve();
  await settle();
  expect(seen.toSorted()).toEqual(['first', 'pipe', 'second', 'timer', 'watch']);
});

test('an ask that is not answered rejects at its deadline, and a late answer does nothing', async () => {
  const { system, clock, settle } = startBench();
  const asked: ReplyTo<number>[] = [];
  const ref = system.spawn(
    'mute',
    actor<{ replyTo: ReplyTo<number> }>(
      () =>
        ({ replyTo }) =>
          void asked.push(replyTo),
    ),
  );
  const answer = system.ask<{ replyTo: ReplyTo<number> }, number>(ref, (replyTo) => ({ replyTo }), {
    timeoutMs: 50,
  });
  const rejected = expect(answer).rejects.toMatchObject({ code: 'timeout' });
  await settle();
  clock.advance(49);
  expect(system.pendingAskCount).toBe(1);
  clock.advance(1);
  await rejected;
  expect(system.pendingAskCount).toBe(0);
  system.reply(asked[0] as ReplyTo<number>, 1);
  system.reply(asked[0] as ReplyTo<number>, 2);
  expect(clock.pending).toBe(0);
});

test.each(['taken', 'waiting'])(
  'an ask fails at once when its receiver stops while it is %s',
  async (where) => {
    const { system, clock, settle } = startBench();
    const hold = gate();
    type Message = { readonly type: 'Hold' } | { readonly type: 'Ask'; readonly replyTo: ReplyTo<number> };
    const stopper = system.spawn(
      'parent',
      actor<string>((context) => {
        const child = context.spawn(
          'child',
          actor<Message>(() => (message) => (message.type === 'Hold' ? hold.promise : undefined)),
        );
        return (message) => (message === 'stop' ? void context.stop(child) : undefined);
      }),
    );
    await settle();
    const child = actorRef<Message>('a', 'parent/child');
    if (where === 'waiting') system.tell(child, { type: 'Hold' });
    await settle();
    const rejected = expect(
      system.ask<Message, number>(child, (replyTo) => ({ type: 'Ask', replyTo })),
    ).rejects.toMatchObject({
      code: 'receiver_gone',
    });
    await settle();
    system.tell(stopper, 'stop');
    await rejected;
    expect(clock.now()).toBe(0);
    hold.resolve();
  },
);

test('an ask that its receiver took and lost in a restart fails at once; one that waits is answered', async () => {
  const { system, until } = startBench();
  type Message =
    | { readonly type: 'Keep' | 'Answer'; readonly replyTo: ReplyTo<number> }
    | { readonly type: 'Throw' };
  const ref = system.spawn(
    'forgetful',
    actor<Message>((context) => (message) => {
      if (message.type === 'Throw') throw new Error('gone');
      if (message.type === 'Answer') context.reply(message.replyTo, context.restarts);
    }),
  );
  const lost = expect(
    system.ask<Message, number>(ref, (replyTo) => ({ type: 'Keep', replyTo })),
  ).rejects.toMatchObject({
    code: 'receiver_gone',
  });
  system.tell(ref, { type: 'Throw' });
  let answer = -1;
  void system
    .ask<Message, number>(ref, (replyTo) => ({ type: 'Answer', replyTo }))
    .then((restarts) => {
      answer = restarts;
    });
  await lost;
  await until(() => answer === 1);
});

test('an old reference never reaches a new actor of the same name', async () => {
  const { system, deadLetters, settle } = startBench();
  const old = system.spawn(
    'name',
    actor<string>((context) => () => context.stopSelf()),
  );
  system.tell(old, 'end');
  await settle();
  const seen: string[] = [];
  system.spawn(
    'name',
    actor<string>(() => (message) => void seen.push(message)),
  );
  system.tell(old, 'hello');
  await expect(system.ask<string, never>(old, () => 'hello')).rejects.toMatchObject({
    code: 'receiver_gone',
  });
  await settle();
  expect(deadLetters.map(({ reason }) => reason)).toEqual(['old_incarnation']);
  expect(seen).toEqual([]);
  system.tell(actorRef<string>('a', 'name'), 'to whoever is there');
  await settle();
  expect(seen).toEqual(['to whoever is there']);
});

test('letters to actors that have ended are no warnings while the system stops', async () => {
  const { system, deadLetters, log } = startBench();
  const ref = system.spawn(
    'gone',
    actor<string>(() => () => undefined),
  );
  const stopped = system.stop();
  system.tell(ref, 'while it stops');
  await stopped;
  system.tell(ref, 'too late');
  expect(deadLetters.map(({ reason }) => reason)).toEqual(['stopped', 'no_such_actor']);
  expect(log.filter(({ message }) => message.startsWith('[dead-letter]')).map(({ level }) => level)).toEqual([
    'debug',
    'debug',
  ]);
});

test('dead letters are counted all, and logged a few', async () => {
  const { system, clock, log } = startBench();
  const nobody = actorRef<string>('a', 'nobody');
  for (let i = 0; i < 1_000; i += 1) system.tell(nobody, 'private content');
  expect(system.deadLetterCount).toBe(1_000);
  expect(log).toHaveLength(10);
  expect(log[0]?.message).toBe('[dead-letter] no_such_actor: string to a/nobody from outside');
  clock.advance(10_000);
  system.tell(nobody, 'again');
  expect(log[10]?.message).toBe('[dead-letter] 990 more not shown');
});

test('a watcher hears once, also of an actor that is gone already', async () => {
  const { system, settle } = startBench();
  const heard: Terminated[] = [];
  const ref = system.spawn(
    'short',
    actor<string>((context) => () => context.stopSelf()),
  );
  system.watch(ref, (terminated) => heard.push(terminated));
  system.watch(ref, () => {
    throw new Error('a watcher of the caller fails');
  });
  system.tell(ref, 'end');
  await settle();
  expect(heard).toEqual([{ ref, reason: 'stopped', error: null }]);
  system.watch(ref, (terminated) => heard.push(terminated));
  await settle();
  expect(heard).toHaveLength(2);
});

test('a behaviour that has ended hears nothing: no timer, no promise, no watch, and its signal is aborted', async () => {
  const { system, clock, settle, until } = startBench();
  const seen: string[] = [];
  const slow = gate();
  const signals: AbortSignal[] = [];
  const other = system.spawn(
    'other',
    actor<string>((context) => () => context.stopSelf()),
  );
  const ref = system.spawn(
    'main',
    actor<string>((context) => {
      signals.push(context.signal);
      const life = context.restarts;
      if (life === 0) {
        context.after(10, 'old timer');
        context.pipe(slow.promise, () => 'old promise', String);
        context.watch(other, () => 'old watch');
      }
      return (message) => {
        if (message === 'throw') throw new Error('told to');
        seen.push(`${message} in life ${life}`);
      };
    }),
  );
  system.tell(ref, 'throw');
  await settle();
  expect(signals[0]?.aborted).toBe(true);
  await until(() => system.tree().find(({ path }) => path === 'main')?.state === 'running');
  clock.advance(1_000);
  slow.resolve();
  system.tell(other, 'end');
  system.tell(ref, 'hello');
  await settle();
  expect(seen).toEqual(['hello in life 1']);
  expect(signals[1]?.aborted).toBe(false);
  expect(clock.pending).toBe(0);
});

test('a timer can be cancelled, and a mapping that throws fails the actor', async () => {
  const { system, clock, settle, until } = startBench();
  const seen: string[] = [];
  const ref = system.spawn(
    'timers',
    actor<string>((context) => (message) => {
      seen.push(message);
      if (message === 'arm') context.after(10, 'never')();
      if (message === 'pipe') {
        const fail = (): never => {
          throw new Error('mapping');
        };
        context.pipe(Promise.resolve(1), fail, fail);
      }
    }),
  );
  system.tell(ref, 'arm');
  await settle();
  clock.advance(20);
  system.tell(ref, 'pipe');
  await until(() => system.tree()[0]?.restarts === 1);
  expect(system.tree()[0]?.lastError).toBe('mapping');
  expect(seen).toEqual(['arm', 'pipe']);
});

test('a handler that hangs is seen in the tree; with a deadline it fails the actor, which goes on', async () => {
  const { system, clock, settle, until } = startBench();
  const never = gate();
  const seen: string[] = [];
  const receive = (message: string): void | Promise<void> =>
    message === 'hang' ? never.promise : void seen.push(message);
  const seenSince = system.spawn(
    'patient',
    actor<string>(() => receive),
  );
  const limited = system.spawn(
    'limited',
    actor<string>(() => receive, { handlerDeadlineMs: 1_000 }),
  );
  clock.advance(7);
  for (const ref of [seenSince, limited]) {
    system.tell(ref, 'hang');
    system.tell(ref, 'next');
  }
  await settle();
  expect(system.tree().map(({ handlingSinceMs }) => handlingSinceMs)).toEqual([7, 7]);
  await until(() => seen.length === 1);
  expect(system.tree().map(({ restarts }) => restarts)).toEqual([0, 1]);
  expect(system.tree()[1]?.lastError).toContain('did not end within 1000 ms');
  never.resolve();
});

test('what JSON cannot carry is refused in strict systems, and named', async () => {
  const { system, deadLetters, log, settle } = startBench();
  const seen: unknown[] = [];
  const ref = system.spawn(
    'any',
    actor<unknown>((context) => (message) => {
      seen.push(message);
      const { replyTo } = message as { replyTo?: ReplyTo<unknown> };
      if (replyTo !== undefined) context.reply(replyTo, new Map());
    }),
  );
  const shared = { list: [1, { deep: true }], none: undefined };
  system.tell(ref, shared);
  system.tell(ref, { at: [new Date(0)] });
  await expect(system.ask(ref, () => ({ size: 1n }))).rejects.toBeInstanceOf(InvariantError);
  await expect(system.ask(ref, (replyTo) => ({ replyTo }))).rejects.toThrow('message is a Map');
  await settle();
  expect(seen[0]).toEqual({ list: [1, { deep: true }] });
  expect(seen[0]).not.toBe(shared);
  expect(deadLetters.map(({ reason }) => reason)).toEqual(['not_encodable']);
  expect(log.some(({ message }) => message.includes('message.at[0] is a Date'))).toBe(true);
});

test('names: unique among siblings, free again after the end, any text without a slash', async () => {
  const { system, settle } = startBench();
  const definition = actor<string>((context) => () => context.stopSelf());
  const ref = system.spawn('wave fr été', definition);
  expect(() => system.spawn('wave fr été', definition)).toThrow(InvariantError);
  expect(() => system.spawn('a/b', definition)).toThrow(InvariantError);
  expect(() => system.spawn('', definition)).toThrow(InvariantError);
  system.tell(ref, 'end');
  await settle();
  expect(system.spawn('wave fr été', definition).incarnation).not.toBe(ref.incarnation);
});

test('after stop nothing is left and nothing is taken', async () => {
  const { system, clock, settle } = startBench();
  const never = gate();
  const ref = system.spawn('a', counter());
  const mute = system.spawn(
    'mute',
    actor<CounterMessage>((context) => {
      context.after(1_000, add(1));
      context.watch(ref, () => add(1));
      context.pipe(
        never.promise,
        () => add(1),
        () => add(1),
      );
      return () => undefined;
    }),
  );
  await settle();
  const waiting = system.ask(mute, read);
  const elsewhere = expect(waiting).rejects.toBeInstanceOf(DlgforgeError);
  const first = system.stop();
  expect(system.stop()).toBe(first);
  await first;
  await elsewhere;
  expect(clock.pending).toBe(0);
  expect(system.pendingAskCount).toBe(0);
  expect(() => system.spawn('late', counter())).toThrow('has been stopped');
  system.tell(ref, add(1));
  expect(system.deadLetterCount).toBe(1);
  await expect(system.ask(ref, read)).rejects.toMatchObject({ code: 'cancelled' });
});

test('a reference to another node is unreachable without a transport', async () => {
  const { system, deadLetters, settle } = startBench();
  const away: ActorRef<string> = actorRef('b', 'x');
  const heard: Terminated[] = [];
  system.tell(away, 'hello');
  system.watch(away, (terminated) => heard.push(terminated));
  await expect(system.ask(away, () => 'hello')).rejects.toMatchObject({ code: 'receiver_gone' });
  await settle();
  expect(deadLetters.map(({ reason }) => reason)).toEqual(['unreachable']);
  expect(heard.map(({ reason }) => reason)).toEqual(['node_lost']);
});
