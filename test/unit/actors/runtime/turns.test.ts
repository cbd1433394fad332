import { expect, test } from 'vitest';
import { actor, startBench } from './fixtures.ts';

async function turnsUntil(reached: () => boolean): Promise<number> {
  let turns = 0;
  for (; !reached(); turns += 1) await new Promise((resolve) => setImmediate(resolve));
  return turns;
}

test('trap 9: a burst does not need a turn of the event loop for each message', async () => {
  const { system } = startBench();
  let handled = 0;
  const ref = system.spawn(
    'busy',
    actor<number>(() => ({ receive: () => void (handled += 1) })),
  );
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  for (let message = 0; message < 640; message += 1) system.tell(ref, message);
  expect(await turnsUntil(() => handled === 640)).toBeLessThan(40);
  await system.stop();
});

test('a long mailbox leaves other actors and timers their turn', async () => {
  const { system } = startBench();
  let own = 0;
  let seen = -1;
  const busy = system.spawn(
    'busy',
    actor<number>(() => ({ receive: () => void (own += 1) })),
  );
  const other = system.spawn(
    'other',
    actor<string>(() => ({ receive: () => void (seen = own) })),
  );
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  for (let message = 0; message < 900; message += 1) system.tell(busy, message);
  system.tell(other, 'now');
  await turnsUntil(() => seen >= 0);
  expect(seen).toBeLessThan(900);
  await system.stop();
});
