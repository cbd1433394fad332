import { expect, test } from 'vitest';
import { delay } from '../../../src/kernel/clock.ts';
import { SimulatedClock } from '../../support/simulated-clock.ts';

test('timers run in the order of their time, then of their making, and see their own time', () => {
  const clock = new SimulatedClock(1_000);
  const ran: string[] = [];
  const note = (name: string) => () => void ran.push(`${name} at ${clock.now()}`);
  clock.schedule(20, note('late'));
  clock.schedule(10, note('first'));
  clock.schedule(10, note('second'));
  const cancel = clock.schedule(15, note('cancelled'));
  clock.schedule(5, () => clock.schedule(5, note('nested')));
  cancel();
  clock.advance(19);
  expect(ran).toEqual(['first at 1010', 'second at 1010', 'nested at 1010']);
  expect([clock.now(), clock.pending, clock.nextAtMs]).toEqual([1_019, 1, 1_020]);
  clock.advance(1);
  expect(ran.at(-1)).toBe('late at 1020');
});

test('runUntil lets the process come to rest before it moves the time', async () => {
  const clock = new SimulatedClock();
  const log: string[] = [];
  const work = async (): Promise<void> => {
    for (let turn = 0; turn < 500; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    log.push(`worked at ${clock.now()}`);
    await delay(clock, 1_000);
    log.push(`waited until ${clock.now()}`);
  };
  void work();
  clock.schedule(10, () => log.push('timer'));
  await clock.runUntil(() => log.length === 3, { limitMs: 1_000 });
  expect(log).toEqual(['worked at 0', 'timer', 'waited until 1000']);
});

test('runUntil says when it will never hold', async () => {
  const clock = new SimulatedClock();
  await expect(clock.runUntil(() => false, { limitMs: 10 })).rejects.toThrow('nothing is left to happen');
  clock.schedule(11, () => undefined);
  await expect(clock.runUntil(() => false, { limitMs: 10 })).rejects.toThrow('it does not hold after 10 ms');
});
