import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { RestartBudget } from '../../../../src/actors/runtime/restart-budget.ts';
import type { ActorContext, RestartPolicy, Terminated } from '../../../../src/actors/runtime/types.ts';
import { DlgforgeError } from '../../../../src/kernel/errors.ts';
import { actor, type Bench, type CounterMessage, counter, gate, read, startBench } from './fixtures.ts';

const POLICY: RestartPolicy = {
  maxRestarts: 3,
  withinMs: 10_000,
  backoffMinMs: 100,
  backoffMaxMs: 300,
  onGivenUp: 'stop',
};

const infoOf = ({ system }: Bench, path: string) => system.tree().find((info) => info.path === path);

test('a failure costs its message and the state, and nothing else that waits', async () => {
  const bench = startBench();
  const { system, until } = bench;
  const ref = system.spawn('counter', counter());
  system.tell(ref, { type: 'Add', amount: 1 });
  system.tell(ref, { type: 'Throw' });
  system.tell(ref, { type: 'Add', amount: 10 });
  system.tell(ref, { type: 'Add', amount: 20 });
  let sum = 0;
  void system.ask(ref, read).then((answer: number) => {
    sum = answer;
  });
  await until(() => sum === 30);
  expect(infoOf(bench, 'counter')).toMatchObject({ restarts: 1, lastError: 'told to throw' });
  expect(system.deadLetterCount).toBe(0);
});

test('pauses double up to their maximum, and one failure too many gives the actor up', async () => {
  const { system, clock, until } = startBench();
  const startedAtMs: number[] = [];
  const heard: Terminated[] = [];
  const ref = system.spawn('bad', {
    kind: 'bad',
    restart: POLICY,
    start() {
      startedAtMs.push(clock.now());
      throw new Error('cannot start');
    },
  });
  system.watch(ref, (terminated) => heard.push(terminated));
  await until(() => heard.length === 1);
  expect(startedAtMs).toEqual([0, 100, 300, 600]);
  expect(heard[0]).toMatchObject({ ref, reason: 'given_up', error: { message: 'cannot start' } });
});

test('failures that are far apart are forgiven for ever', async () => {
  const bench = startBench();
  const ref = bench.system.spawn('counter', counter({ restart: POLICY }));
  for (let failure = 1; failure <= 10; failure += 1) {
    bench.clock.advance(11_000);
    const beforeMs = bench.clock.now();
    bench.system.tell(ref, { type: 'Throw' });
    await bench.until(() => infoOf(bench, 'counter')?.restarts === failure);
    expect(bench.clock.now() - beforeMs).toBe(100);
  }
});

test('the restarts within any window stay within the limit, and pauses within theirs', () => {
  const policies = fc.record({
    maxRestarts: fc.nat(6),
    withinMs: fc.integer({ min: 1, max: 5_000 }),
    backoffMinMs: fc.integer({ min: 1, max: 100 }),
    backoffMaxMs: fc.integer({ min: 100, max: 1_000 }),
    onGivenUp: fc.constantFrom('stop' as const, 'escalate' as const),
  });
  fc.assert(
    fc.property(policies, fc.array(fc.nat(3_000), { maxLength: 60 }), (policy, gapsMs) => {
      const budget = new RestartBudget(policy);
      const restarts: number[] = [];
      let nowMs = 0;
      for (const gapMs of gapsMs) {
        nowMs += gapMs;
        const verdict = budget.failed(nowMs, gapMs === 0 ? null : nowMs - gapMs, new Error('x'));
        const inWindow = restarts.filter((atMs) => nowMs - atMs < policy.withinMs).length;
        if (verdict.type === 'give_up') {
          expect(inWindow).toBe(policy.maxRestarts);
          expect(verdict.escalate).toBe(policy.onGivenUp === 'escalate');
          return;
        }
        expect(inWindow).toBeLessThan(policy.maxRestarts);
        expect(verdict.pauseMs).toBeGreaterThanOrEqual(policy.backoffMinMs);
        expect(verdict.pauseMs).toBeLessThanOrEqual(policy.backoffMaxMs);
        restarts.push(nowMs);
      }
    }),
  );
});

/** A parent whose children are told what to do by name. */
const family = (log: string[], childPolicy: Partial<RestartPolicy>) => {
  const member = (
    name: string,
    restart: Partial<RestartPolicy>,
    body: (context: ActorContext<string>) => void,
  ) =>
    actor<string>(
      (context) => {
        log.push(`${name} starts`);
        body(context);
        return {
          receive(message) {
            if (message === 'throw') throw new Error(`${name} told to throw`);
            log.push(`${name} hears ${message}`);
          },
          stopped: () => void log.push(`${name} stopped`),
        };
      },
      { restart },
    );
  return member('parent', { ...POLICY, backoffMinMs: 10 }, (context) => {
    const older = context.spawn(
      'older',
      member('older', childPolicy, () => undefined),
    );
    context.spawn(
      'younger',
      member('younger', childPolicy, () => undefined),
    );
    if (context.restarts === 0) context.tell(older, 'throw');
  });
};

test('one for one: a restart of a child leaves its siblings and its parent alone', async () => {
  const log: string[] = [];
  const bench = startBench();
  bench.system.spawn('parent', family(log, POLICY));
  await bench.until(() => infoOf(bench, 'parent/older')?.restarts === 1);
  expect(log.filter((line) => line !== 'younger starts')).toEqual([
    'parent starts',
    'older starts',
    'older stopped',
    'older starts',
  ]);
  expect(log.filter((line) => line.startsWith('younger'))).toEqual(['younger starts']);
});

test('escalate: the parent fails with the child that was given up, and restarts with all its children', async () => {
  const log: string[] = [];
  const bench = startBench();
  bench.system.spawn('parent', family(log, { maxRestarts: 0, onGivenUp: 'escalate' }));
  await bench.until(
    () => infoOf(bench, 'parent')?.restarts === 1 && infoOf(bench, 'parent/younger') !== undefined,
  );
  await bench.settle();
  expect(log).toEqual([
    'parent starts',
    'older starts',
    'older stopped',
    'younger starts',
    'younger stopped',
    'parent stopped',
    'parent starts',
    'older starts',
    'younger starts',
  ]);
  expect(infoOf(bench, 'parent')?.lastError).toBe('older told to throw');
});

test('an escalated failure goes before the messages that wait, and none of them is lost', async () => {
  const { system, settle, until } = startBench();
  const seen: string[] = [];
  const hold = gate();
  const ref = system.spawn(
    'parent',
    actor<string>((context) => {
      const life = context.restarts;
      const child = context.spawn(
        'child',
        actor<string>(
          () => () => {
            throw new Error('child');
          },
          { restart: { maxRestarts: 0, onGivenUp: 'escalate' } },
        ),
      );
      return async (message) => {
        seen.push(`${message} in life ${life}`);
        if (message !== 'first') return;
        context.tell(child, 'throw');
        await hold.promise;
      };
    }),
  );
  for (const message of ['first', 'second', 'third']) system.tell(ref, message);
  await settle();
  hold.resolve();
  await until(() => seen.length === 3);
  expect(seen).toEqual(['first in life 0', 'second in life 1', 'third in life 1']);
});

test('stale_epoch is never restarted and never escalated (I2)', async () => {
  const { system, settle, clock } = startBench();
  const heard: Terminated[] = [];
  system.spawn(
    'parent',
    actor<string>((context) => {
      const child = context.spawn(
        'child',
        actor<string>(
          () => () => {
            throw new DlgforgeError('stale_epoch', 'somebody else has taken over');
          },
          { restart: { onGivenUp: 'escalate' } },
        ),
      );
      system.watch(child, (terminated) => heard.push(terminated));
      context.tell(child, 'write');
      return () => undefined;
    }),
  );
  await settle();
  expect(heard).toMatchObject([{ reason: 'given_up', error: { code: 'stale_epoch' } }]);
  expect(system.tree()).toMatchObject([{ path: 'parent', restarts: 0 }]);
  expect(clock.pending).toBe(0);
});

test('fail: what happens outside of a handler fails the actor like a handler', async () => {
  const bench = startBench();
  const contexts: ActorContext<CounterMessage>[] = [];
  bench.system.spawn(
    'counter',
    actor<CounterMessage>((context) => {
      contexts.push(context);
      return () => undefined;
    }),
  );
  await bench.settle();
  contexts[0]?.fail(new Error('the process has exited'));
  await bench.until(() => infoOf(bench, 'counter')?.restarts === 1);
  contexts[0]?.fail(new Error('an old life is not heard'));
  await bench.settle();
  expect(infoOf(bench, 'counter')).toMatchObject({
    restarts: 1,
    state: 'running',
    lastError: 'the process has exited',
  });
});

test('a stop ends the pause before a restart', async () => {
  const { system, settle, clock } = startBench();
  const ref = system.spawn('counter', counter());
  system.tell(ref, { type: 'Throw' });
  system.tell(ref, { type: 'Add', amount: 1 });
  await settle();
  expect(system.tree()).toMatchObject([{ state: 'restarting', mailboxLength: 1 }]);
  await system.stop();
  expect(clock.now()).toBe(0);
  expect(clock.pending).toBe(0);
  expect(system.deadLetterCount).toBe(1);
});

test('a stop waits for the start in hand, and `stopped` is called on what it made', async () => {
  const { system, settle } = startBench();
  const recovered = gate();
  let stopped = 0;
  system.spawn<string>('late', {
    kind: 'late',
    async start() {
      await recovered.promise;
      return { receive: () => undefined, stopped: () => void (stopped += 1) };
    },
  });
  await settle();
  const stopping = system.stop();
  await settle();
  expect(stopped).toBe(0);
  recovered.resolve();
  await stopping;
  expect(stopped).toBe(1);
});

test('a start that fails while it is told to stop is not tried again', async () => {
  const { system, settle, clock } = startBench();
  const recovered = gate();
  let starts = 0;
  system.spawn<string>('late', {
    kind: 'late',
    async start() {
      starts += 1;
      await recovered.promise;
      throw new Error('cannot recover');
    },
  });
  await settle();
  const stopping = system.stop();
  recovered.resolve();
  await stopping;
  expect([starts, clock.pending, system.tree().length]).toEqual([1, 0, 0]);

  const again = startBench();
  const second = gate();
  again.system.spawn<string>('late', {
    kind: 'late',
    async start(context) {
      if (context.restarts === 0) throw new Error('cannot start');
      await second.promise;
      throw new Error('cannot restart');
    },
  });
  await again.settle();
  again.clock.advance(100);
  await again.settle();
  const stoppingAgain = again.system.stop();
  second.resolve();
  await stoppingAgain;
  expect([again.clock.pending, again.system.tree().length]).toEqual([0, 0]);
});

test('what does not end is abandoned after the stop deadline, and said', async () => {
  const { system, clock, log, settle, until } = startBench({ defaults: { stopDeadlineMs: 5_000 } });
  const never = gate();
  const ref = system.spawn(
    'stuck',
    actor<string>(() => ({ receive: () => never.promise, stopped: () => never.promise })),
  );
  system.tell(ref, 'hang');
  await settle();
  let done = false;
  void system.stop().then(() => {
    done = true;
  });
  await until(() => done);
  expect(clock.now()).toBe(10_000);
  const said = log.map(({ message }) => message);
  expect(said.some((message) => message.includes('was told to stop, but what it is doing did not end'))).toBe(
    true,
  );
  expect(said.some((message) => message.includes('the `stopped` of stuck did not end within 5000 ms'))).toBe(
    true,
  );
});

test("a child can be stopped and the name used again; somebody else's child can not", async () => {
  const { system, settle } = startBench();
  const outcomes: string[] = [];
  const stranger = system.spawn('stranger', counter());
  const ref = system.spawn(
    'parent',
    actor<string>((context) => async () => {
      const first = context.spawn('child', counter());
      await context.stop(first);
      await context.stop(first);
      context.spawn('child', counter());
      await context.stop(stranger).catch((error: Error) => outcomes.push(error.message));
      outcomes.push('done');
    }),
  );
  system.tell(ref, 'go');
  await settle();
  expect(outcomes).toEqual(['invariant broken: parent stops stranger, which is not its child', 'done']);
  expect(system.tree().map(({ path }) => path)).toEqual(['stranger', 'parent', 'parent/child']);
});
