import { expect, test } from 'vitest';
import { PendingAsks, type ReceivedAsk, ReceivedAsks } from '../../../../src/actors/runtime/asks.ts';
import { DlgforgeError } from '../../../../src/kernel/errors.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';

test('an ask settles once, says so, and leaves no deadline behind', async () => {
  const clock = new SimulatedClock();
  const settled: string[] = [];
  const asks = new PendingAsks(clock, (correlation) => settled.push(correlation));
  const correlation = asks.nextCorrelation();
  const answer = asks.open<number>(correlation, 'a', 'x', 1_000);
  asks.resolve(correlation, 1);
  asks.resolve(correlation, 2);
  asks.reject(correlation, new Error('late'));
  expect(await answer).toBe(1);
  expect(settled).toEqual([correlation]);
  expect([asks.size, clock.pending]).toEqual([0, 0]);
});

test('correlations of two systems never meet', () => {
  const clock = new SimulatedClock();
  const [first, second] = [new PendingAsks(clock, () => undefined), new PendingAsks(clock, () => undefined)];
  expect(first.nextCorrelation()).not.toBe(second.nextCorrelation());
});

test('what waits for a lost node fails, and only that', async () => {
  const asks = new PendingAsks(new SimulatedClock(), () => undefined);
  const [toA, toB] = [asks.nextCorrelation(), asks.nextCorrelation()];
  const [answerA, answerB] = [asks.open<number>(toA, 'a', 'x', 1), asks.open<number>(toB, 'b', 'x', 1)];
  asks.rejectNode('b', new DlgforgeError('receiver_gone', 'node b is lost'));
  asks.resolve(toA, 1);
  await expect(answerB).rejects.toMatchObject({ code: 'receiver_gone' });
  expect(await answerA).toBe(1);
});

test('received asks that somebody else answered are forgotten after their deadline', () => {
  const clock = new SimulatedClock();
  const received = new ReceivedAsks(clock);
  const open = new Set<ReceivedAsk>();
  const arrive = (count: number, timeoutMs: number): void => {
    for (let i = 0; i < count; i += 1)
      received.add({ correlation: `${clock.now()}.${i}`, from: 'b', timeoutMs }, open);
  };
  arrive(500, 10_000);
  clock.advance(1);
  arrive(2_000, 100);
  clock.advance(1_000);
  for (let round = 0; round < 20; round += 1) {
    clock.advance(1_000);
    arrive(500, 100);
    expect(open.size).toBeLessThanOrEqual(5_500);
  }
  received.settle('unknown');
  const [oldest] = open;
  expect(oldest?.expiresAtMs).toBeGreaterThan(10_000);
});
