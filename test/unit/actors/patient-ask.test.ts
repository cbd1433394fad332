import { afterEach, beforeEach, expect, test } from 'vitest';
import { askPatiently } from '../../../src/actors/patient-ask.ts';
import { createActorSystem } from '../../../src/actors/runtime/actor-system.ts';
import type { ActorRef, ActorSystem, ReplyTo } from '../../../src/actors/runtime/types.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import { SimulatedClock } from '../../support/simulated-clock.ts';

interface Ask {
  readonly replyTo: ReplyTo<string>;
}

let clock: SimulatedClock;
let system: ActorSystem;
let controller: AbortController;
let answered: unknown;
beforeEach(() => {
  clock = new SimulatedClock(1_000);
  system = createActorSystem({ node: 'n', logger: silentLogger, clock });
  controller = new AbortController();
  answered = null;
});
afterEach(() => system.stop());

const answering = (name: string, reply: (number: number) => string | null): ActorRef<Ask> => {
  let asked = 0;
  return system.spawn<Ask>(name, {
    kind: name,
    start: (context) => ({
      receive({ replyTo }) {
        asked += 1;
        const text = reply(asked);
        if (text !== null) context.reply(replyTo, text);
      },
    }),
  });
};

function ask(to: () => ActorRef<Ask> | null): void {
  const context = {
    clock,
    signal: controller.signal,
    ask: system.ask.bind(system),
  };
  askPatiently<Ask, string>(context, {
    to,
    message: (replyTo) => ({ replyTo }),
    decode(reply) {
      if (reply === 'garbage') throw new Error('what is this?');
      return String(reply);
    },
    isNotYet: (reply) => reply === 'busy',
    whom: 'The oracle',
    tryMs: 5_000,
    patienceMs: 600_000,
  }).then(
    (reply) => (answered = reply),
    (error: unknown) => (answered = error),
  );
}

const untilAnswered = (): Promise<void> => clock.runUntil(() => answered !== null, { limitMs: 3_600_000 });

test('whoever plays the part now is asked; nobody, silence, nonsense and busy are asked again', async () => {
  const silent = answering('silent', () => null);
  const odd = answering('odd', (number) => ['garbage', 'busy'][number - 1] ?? 'yes');
  const gone = { ...odd, path: 'gone' };
  const parts = [null, gone, silent, odd, odd, odd];
  ask(() => parts.shift() ?? null);
  await untilAnswered();
  expect(answered).toBe('yes');
  expect(clock.now()).toBeGreaterThan(6_000);
});

test('after the patience it is the run’s trouble, with what to do', async () => {
  ask(() => null);
  await untilAnswered();
  expect(answered).toMatchObject({
    code: 'timeout',
    message: expect.stringMatching(/The oracle has not answered for 10 min.*cluster status/) as string,
  });
  expect(clock.now()).toBeGreaterThan(590_000);
});

test('whoever does not wait any more stops asking', async () => {
  ask(() => null);
  await clock.settle();
  controller.abort();
  await clock.settle();
  expect(answered).toMatchObject({ code: 'cancelled' });
  expect(clock.pending).toBe(0);
});
