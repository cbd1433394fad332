/** Two nodes joined by the memory transport: sending does not tell where the receiver is. */
import { expect, onTestFinished, test } from 'vitest';
import { ENVELOPE_VERSION } from '../../../../src/actors/runtime/envelopes.ts';
import type { ActorRef, ReplyTo, Terminated } from '../../../../src/actors/runtime/types.ts';
import { actorRef } from '../../../../src/actors/runtime/types.ts';
import { InvariantError } from '../../../../src/kernel/errors.ts';
import type { Envelope, Transport, TransportEndpoint } from '../../../../src/ports/transport.ts';
import {
  createMemoryTransport,
  type MemoryTransport,
  type MemoryTransportOptions,
} from '../../../../src/transport/memory-transport.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';
import { actor, type Bench, type CounterMessage, counter, gate, joinBench, read } from './fixtures.ts';

async function pair(options: MemoryTransportOptions = {}) {
  const clock = new SimulatedClock();
  const transport = createMemoryTransport({ clock, seed: 1, ...options });
  const a = await joinBench(transport, { node: 'a', clock, strictMessages: false });
  const b = await joinBench(transport, { node: 'b', clock, strictMessages: false });
  return { clock, transport, a, b };
}

const mute = () => actor<CounterMessage>(() => () => undefined);

test('tell, ask and reply reach over nodes, from outside and from actors', async () => {
  const { a, b } = await pair();
  const ref = b.system.spawn('counter', counter());
  a.system.tell(ref, { type: 'Add', amount: 2 });
  expect(await a.system.ask(ref, read)).toBe(2);

  const relayed: number[] = [];
  const relay = a.system.spawn(
    'relay',
    actor<'go'>((context) => async () => {
      context.tell(ref, { type: 'Add', amount: 3 });
      relayed.push(await context.ask(ref, read));
    }),
  );
  b.system.tell(relay, 'go');
  await a.settle();
  expect(relayed).toEqual([5]);
  expect([a.system.pendingAskCount, b.system.pendingAskCount]).toEqual([0, 0]);
});

test('an answer may come from another node than the one that was asked', async () => {
  const { clock, transport, a, b } = await pair();
  const c = await joinBench(transport, { node: 'c', clock });
  const last = c.system.spawn('last', counter());
  const middle = b.system.spawn(
    'middle',
    actor<CounterMessage>((context) => (message) => context.tell(last, message)),
  );
  expect(await a.system.ask(middle, read)).toBe(0);
});

test('what cannot be delivered over there: tells are dead letters there, asks fail at once here', async () => {
  const { clock, a, b } = await pair();
  const full = b.system.spawn(
    'full',
    actor<CounterMessage>(
      (context) => {
        const hold = gate();
        context.signal.addEventListener('abort', () => hold.resolve());
        return () => hold.promise;
      },
      { mailbox: { capacity: 1 } },
    ),
  );
  const gone = b.system.spawn(
    'gone',
    actor<CounterMessage>((context) => () => context.stopSelf()),
  );
  for (const ref of [full, gone]) a.system.tell(ref, { type: 'Add', amount: 1 });
  await a.settle();
  a.system.tell(full, { type: 'Add', amount: 2 });
  await a.settle();
  for (const ref of [full, gone]) a.system.tell(ref, { type: 'Add', amount: 3 });
  await expect(a.system.ask(full, read)).rejects.toMatchObject({ code: 'overloaded', retryable: true });
  await expect(a.system.ask(gone, read)).rejects.toMatchObject({ code: 'receiver_gone' });
  expect(b.deadLetters.map(({ reason }) => reason)).toEqual(['overloaded', 'no_such_actor']);
  expect(clock.now()).toBe(0);
});

test('an ask fails at once when its receiver over there ends, or restarts after it took it', async () => {
  const { a, b, clock } = await pair();
  const [stops, crashes] = [b.system.spawn('stops', mute()), b.system.spawn('crashes', counterThatForgets())];
  const asks = [a.system.ask(stops, read), a.system.ask(crashes, read)];
  const rejected = asks.map((ask) => expect(ask).rejects.toMatchObject({ code: 'receiver_gone' }));
  await a.settle();
  a.system.tell(crashes, { type: 'Throw' });
  await b.system.stop();
  await Promise.all(rejected);
  expect(clock.now()).toBe(0);
});

const counterThatForgets = () =>
  actor<CounterMessage>(() => (message) => {
    if (message.type === 'Throw') throw new Error('told to throw');
  });

test('a message that its actor cannot decode is refused at the door (I10)', async () => {
  const { a, b } = await pair();
  const seen: number[] = [];
  const ref: ActorRef<unknown> = b.system.spawn<unknown>('strict', {
    kind: 'strict',
    decode(body) {
      if (typeof body !== 'number') throw new Error('not a number');
      return body;
    },
    start: () => ({ receive: (message) => void seen.push(message as number) }),
  });
  a.system.tell(ref, 1);
  a.system.tell(ref, 'one');
  await expect(a.system.ask(ref, () => 'two')).rejects.toMatchObject({ code: 'refused', retryable: false });
  await a.settle();
  expect(seen).toEqual([1]);
  expect(b.deadLetters.map(({ reason }) => reason)).toEqual(['refused']);
});

test("what cannot be encoded is the sender's error, and an answer that cannot be is the asker's", async () => {
  const { a, b } = await pair();
  const ref = b.system.spawn(
    'any',
    actor<{ size?: bigint; replyTo?: ReplyTo<unknown> }>((context) => ({ replyTo }) => {
      if (replyTo !== undefined) context.reply(replyTo, 1n);
    }),
  );
  a.system.tell(ref, { size: 1n });
  await expect(a.system.ask(ref, () => ({ size: 1n }))).rejects.toBeInstanceOf(InvariantError);
  await expect(a.system.ask(ref, (replyTo) => ({ replyTo }))).rejects.toMatchObject({ code: 'refused' });
  expect(a.deadLetters.map(({ reason }) => reason)).toEqual(['not_encodable']);
});

test('a lost node fails the asks that wait for it and fires the watches on it, and only those', async () => {
  const { clock, transport, a, b } = await pair({ detectLossMs: 3_000 });
  const c = await joinBench(transport, { node: 'c', clock });
  const [onB, onC] = [b.system.spawn('x', mute()), c.system.spawn('x', mute())];
  const heard: Terminated[] = [];
  for (const ref of [onB, onC]) a.system.watch(ref, (terminated) => heard.push(terminated));
  let code: unknown = null;
  const asked = a.system.ask(onB, read);
  asked.catch((error: { code: unknown }) => {
    code = error.code;
  });
  void a.system.ask(onC, read).catch(() => undefined);
  await a.settle();
  transport.kill('b');
  await a.until(() => code !== null);
  expect([code, clock.now()]).toEqual(['receiver_gone', 3_000]);
  expect(heard).toMatchObject([{ ref: onB, reason: 'node_lost' }]);
  expect(a.system.pendingAskCount).toBe(1);
  await expect(a.system.stop()).resolves.toBeUndefined();
});

test('a watch over nodes: the end, giving up, an actor that is gone already, and a restart that is none', async () => {
  const { a, b } = await pair();
  const heard: Terminated[] = [];
  const listen = (terminated: Terminated): void => void heard.push(terminated);
  const ends = b.system.spawn(
    'ends',
    actor<'end' | 'throw'>((context) => (message) => {
      if (message === 'throw') throw new Error('once');
      context.stopSelf();
    }),
  );
  const given = b.system.spawn('given-up', counter({ restart: { maxRestarts: 0 } }));
  a.system.watch(ends, listen);
  a.system.watch(given, listen);
  a.system.watch(actorRef('b', 'nobody'), listen);
  a.system.tell(ends, 'throw');
  await a.until(() => b.system.tree().find(({ path }) => path === 'ends')?.restarts === 1);
  a.system.tell(ends, 'end');
  a.system.tell(given, { type: 'Throw' });
  await a.until(() => heard.length === 3);
  expect(heard.map(({ ref, reason }) => `${ref.path} ${reason}`).toSorted()).toEqual([
    'ends stopped',
    'given-up given_up',
    'nobody stopped',
  ]);
  expect(heard.find(({ reason }) => reason === 'given_up')?.error).toMatchObject({
    message: 'node b: told to throw',
  });
});

test('a watch ends with the behaviour that made it, over nodes too', async () => {
  const { clock, a, b, transport } = await pair();
  const watched = b.system.spawn('watched', mute());
  const heard: string[] = [];
  const watcher = a.system.spawn(
    'watcher',
    actor<string>((context) => {
      if (context.restarts === 0) context.watch(watched, () => 'terminated');
      return (message) => {
        if (message === 'throw') throw new Error('told to');
        heard.push(message);
      };
    }),
  );
  a.system.tell(watcher, 'throw');
  await a.until(() => a.system.tree()[0]?.restarts === 1);
  await a.settle();
  const before = transport.stats().sent;
  await b.system.stop();
  await a.settle();
  expect(transport.stats().sent).toBe(before);
  expect(heard).toEqual([]);
  clock.advance(0);
  expect(clock.pending).toBe(0);
});

test('a node that is lost watches nothing any more', async () => {
  const { transport, a, b } = await pair();
  const watched = b.system.spawn('watched', mute());
  a.system.watch(watched, () => undefined);
  await a.settle();
  transport.kill('a');
  await b.until(() => true);
  b.clock.advance(0);
  const before = transport.stats().sent;
  await b.system.stop();
  expect(transport.stats().sent).toBe(before);
});

test('a node that was taken for lost and returns works again: asks, watches, and what it watched here', async () => {
  const clock = new SimulatedClock();
  const transport = createMemoryTransport({ clock, detectLossMs: null });
  const endpoints = new Map<string, TransportEndpoint>();
  const observed: Transport = {
    async attach(node, receive) {
      const endpoint = await transport.attach(node, receive);
      endpoints.set(node, endpoint);
      return endpoint;
    },
  };
  const a = await joinBench(observed as MemoryTransport, { node: 'a', clock, strictMessages: false });
  const b = await joinBench(observed as MemoryTransport, { node: 'b', clock, strictMessages: false });
  const [onA, onB] = [a.system.spawn('x', counter()), b.system.spawn('x', counter())];
  const heard: string[] = [];
  const watch = (bench: Bench, ref: ActorRef<never>): void =>
    void bench.system.watch(ref, ({ reason }) => heard.push(`${bench.system.node} hears ${reason}`));
  watch(a, onB);
  watch(b, onA);
  const asked = expect(a.system.ask(onB, read)).rejects.toMatchObject({ code: 'receiver_gone' });
  transport.freeze('b');
  endpoints.get('a')?.declareLost('b');
  await asked;
  expect(heard).toEqual(['a hears node_lost']);
  await expect(a.system.ask(onB, read)).rejects.toMatchObject({ code: 'receiver_gone' });
  transport.thaw('b');
  endpoints.get('b')?.broadcast('here');
  endpoints.get('b')?.declareLost('a');
  endpoints.get('a')?.broadcast('here too');
  await a.settle();
  expect(heard).toEqual(['a hears node_lost', 'b hears node_lost']);
  expect([await a.system.ask(onB, read), await b.system.ask(onA, read)]).toEqual([0, 0]);
  watch(a, onB);
  watch(b, onA);
  await a.settle();
  await b.system.stopActor(onB);
  await a.system.stopActor(onA);
  await a.until(() => heard.length === 4);
  expect(heard.slice(2).toSorted()).toEqual(['a hears stopped', 'b hears stopped']);
});

test('only the node of an actor can say that it has ended', async () => {
  const { transport, a } = await pair();
  const heard: Terminated[] = [];
  const attach = async (node: string, receive: (envelope: Envelope) => void) => {
    const endpoint = await transport.attach(node, (envelope) => receive(envelope as Envelope));
    onTestFinished(() => endpoint.detach());
    return endpoint;
  };
  const liar = await attach('liar', () => undefined);
  const honest = await attach('honest', ({ correlation = '' }) => {
    const terminated = {
      version: 1,
      kind: 'terminated' as const,
      correlation,
      body: { reason: 'stopped', error: null },
    };
    liar.send('a', { ...terminated, from: 'liar' });
  });
  a.system.watch(actorRef('honest', 'x'), (terminated) => heard.push(terminated));
  await a.settle();
  expect(heard).toEqual([]);
  await honest.detach();
  await a.until(() => heard.length === 1);
  expect(heard[0]?.reason).toBe('node_lost');
});

test('an old reference to another node reaches neither a new actor nor a new process of that name', async () => {
  const { clock, transport, a, b } = await pair();
  const old = b.system.spawn('counter', counter());
  expect(await a.system.ask(old, read)).toBe(0);
  transport.kill('b');
  await a.until(() => true);
  const again = await joinBench(transport, { node: 'b', clock });
  const current = again.system.spawn('counter', counter());
  a.system.tell(old, { type: 'Add', amount: 1 });
  a.system.tell(actorRef<CounterMessage>('b', 'counter'), { type: 'Add', amount: 5 });
  expect(await a.system.ask(current, read)).toBe(5);
  await expect(a.system.ask(old, read)).rejects.toMatchObject({ code: 'receiver_gone' });
  expect(again.deadLetters.map(({ reason }) => reason)).toEqual(['old_incarnation']);
});

test('envelopes of another version are refused: answered, counted, and logged once per node', async () => {
  const { transport, a } = await pair();
  const answers: Envelope[] = [];
  const stranger = await transport.attach('stranger', (envelope) => void answers.push(envelope as Envelope));
  const version = ENVELOPE_VERSION + 2;
  const ask: Envelope = {
    version,
    from: 'stranger',
    kind: 'ask',
    path: 'x',
    incarnation: 1,
    correlation: '7',
    timeoutMs: 1,
    body: 1,
  };
  for (let i = 0; i < 3; i += 1) stranger.send('a', ask);
  stranger.send('a', { ...ask, kind: 'tell' });
  stranger.send('a', { ...ask, kind: 'fail' });
  stranger.send('a', { ...ask, version: ENVELOPE_VERSION, kind: 'execute' as 'tell' });
  stranger.send('a', 'nonsense' as unknown as Envelope);
  await a.settle();
  expect(a.system.refusedEnvelopeCount).toBe(6);
  expect([...a.system.refusedBySender]).toEqual([
    ['stranger', 5],
    ['unknown', 1],
  ]);
  expect(answers).toHaveLength(3);
  expect(answers[0]).toMatchObject({ version, kind: 'fail', correlation: '7', body: { code: 'refused' } });
  const lines = a.log.map(({ message }) => message);
  expect(
    lines.filter((line) => line.includes('of node stranger: its version is 3, this node speaks 1')),
  ).toHaveLength(1);
  expect(lines).toHaveLength(2);
  await stranger.detach();
});

test('a node of the next or the last version is understood', async () => {
  const { transport, a } = await pair();
  const ref = a.system.spawn('counter', counter());
  const neighbour = await transport.attach('neighbour', () => undefined);
  for (const version of [ENVELOPE_VERSION - 1, ENVELOPE_VERSION + 1]) {
    const body = { type: 'Add', amount: 1 };
    neighbour.send('a', { version, from: 'neighbour', kind: 'tell', path: 'counter', incarnation: 0, body });
  }
  await a.settle();
  expect(await a.system.ask(ref, read)).toBe(2);
  expect(a.system.refusedEnvelopeCount).toBe(0);
  await neighbour.detach();
});

test('the fail of another version is understood', async () => {
  const { transport, a } = await pair();
  const future = await transport.attach('future', (envelope) => {
    const { correlation = '' } = envelope as Envelope;
    future.send('a', {
      version: 99,
      from: 'future',
      kind: 'fail',
      correlation,
      body: { code: 'refused', message: 'too old' },
    });
  });
  await expect(a.system.ask(actorRef('future', 'x'), () => 1)).rejects.toMatchObject({
    code: 'refused',
    message: 'node future: too old',
  });
  await future.detach();
});

test('many asks over nodes with delays and random order are all answered, each by its own answer', async () => {
  const { clock, a, b } = await pair({ delayMs: { min: 0, max: 20 } });
  type Echo = { readonly value: number; readonly replyTo: ReplyTo<number> };
  const ref = b.system.spawn(
    'echo',
    actor<Echo>(
      (context) =>
        ({ value, replyTo }) =>
          context.reply(replyTo, value),
      { mailbox: { capacity: 5_000 } },
    ),
  );
  const values = Array.from({ length: 3_000 }, (_, value) => value);
  let answers: number[] = [];
  void Promise.all(
    values.map((value) => a.system.ask<Echo, number>(ref, (replyTo) => ({ value, replyTo }))),
  ).then((all) => {
    answers = all;
  });
  await a.until(() => answers.length > 0);
  expect(answers).toEqual(values);
  expect(clock.now()).toBeLessThan(100);
});
