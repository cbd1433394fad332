/** What every work queue promises; each adapter's test file runs it with its own harness. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Delivery, WorkConsumer, WorkItem, WorkQueue } from '../../../src/ports/work-queue.ts';

export interface WorkQueueHarness {
  /** The queue as another process would open it; may be the same one each time. */
  open(): Promise<WorkQueue>;
  close(): Promise<void>;
}

export interface Worker {
  readonly consumer: WorkConsumer;
  /** In hand, oldest first. */
  readonly hands: Delivery[];
  /** Every index that was ever delivered. */
  readonly indices: number[];
}

export const workItem = (index: number, runId = 'run.one/ä'): WorkItem => ({
  runId,
  languageIndex: 1,
  index,
  priority: index,
});

/** A worker that keeps what it gets until the test settles it. */
export function startWorker(queue: WorkQueue, capacity: number, runId = 'run.one/ä'): Worker {
  const hands: Delivery[] = [];
  const indices: number[] = [];
  const consumer = queue.consume(runId, capacity, (delivery) => {
    hands.push(delivery);
    indices.push(delivery.item.index);
  });
  return { consumer, hands, indices };
}

const SOON = { timeout: 10_000 };

export function workQueueContract(name: string, start: () => Promise<WorkQueueHarness>): void {
  describe(`work queue contract: ${name}`, () => {
    let harness: WorkQueueHarness;

    beforeEach(async () => {
      harness = await start();
    });

    afterEach(async () => {
      await harness.close();
    });

    test('delivers items whole, those that were there before the worker too', async () => {
      const queue = await harness.open();
      queue.publish(workItem(0));
      const worker = startWorker(await harness.open(), 10);
      queue.publish(workItem(1));
      await expect.poll(() => worker.hands.length, SOON).toBe(2);
      expect(worker.hands.map(({ item }) => item).toSorted((a, b) => a.index - b.index)).toEqual([
        workItem(0),
        workItem(1),
      ]);
    });

    test('an item that is queued or in hand is not published again, one that is done is', async () => {
      const queue = await harness.open();
      queue.publish(workItem(0));
      queue.publish(workItem(0));
      const worker = startWorker(await harness.open(), 10);
      await expect.poll(() => worker.indices, SOON).toEqual([0]);
      queue.publish(workItem(0));
      queue.publish(workItem(1));
      await expect.poll(() => worker.indices, SOON).toEqual([0, 1]);
      worker.hands[0]?.ack();
      await expect
        .poll(() => {
          queue.publish(workItem(0));
          return worker.indices;
        }, SOON)
        .toEqual([0, 1, 0]);
    });

    test('no more in hand than the capacity, which can be changed', async () => {
      const queue = await harness.open();
      const worker = startWorker(await harness.open(), 2);
      for (let index = 0; index < 6; index += 1) queue.publish(workItem(index));
      await expect.poll(() => worker.hands.length, SOON).toBe(2);
      worker.consumer.setCapacity(4);
      await expect.poll(() => worker.hands.length, SOON).toBe(4);
      worker.consumer.setCapacity(1);
      worker.hands[0]?.ack();
      worker.hands[1]?.ack();
      worker.hands[2]?.ack();
      const other = startWorker(await harness.open(), 10);
      await expect.poll(() => other.hands.length, SOON).toBe(2);
      expect(worker.hands.length).toBe(4);
      worker.hands[3]?.ack();
      queue.publish(workItem(6));
      await expect.poll(() => worker.hands.length + other.hands.length, SOON).toBe(7);
    });

    test('what is released is delivered again at once, to whoever has room', async () => {
      const queue = await harness.open();
      const first = startWorker(await harness.open(), 1);
      queue.publish(workItem(0));
      await expect.poll(() => first.indices, SOON).toEqual([0]);
      const second = startWorker(await harness.open(), 1);
      first.consumer.setCapacity(0);
      first.hands[0]?.release();
      first.hands[0]?.release();
      first.hands[0]?.ack();
      await expect.poll(() => second.indices, SOON).toEqual([0]);
      expect(first.indices).toEqual([0]);
    });

    test('counts what waits, what is in hand, and what of that was in hand before', async () => {
      const queue = await harness.open();
      const first = startWorker(await harness.open(), 1);
      for (const index of [0, 1, 2]) queue.publish(workItem(index));
      await expect.poll(() => queue.counts(), SOON).toEqual({ waiting: 2, inHand: 1, redelivered: 0 });
      first.consumer.setCapacity(0);
      first.hands[0]?.release();
      const second = startWorker(await harness.open(), 3);
      await expect.poll(() => second.hands.length, SOON).toBe(3);
      await expect.poll(() => queue.counts(), SOON).toEqual({ waiting: 0, inHand: 3, redelivered: 1 });
      for (const delivery of second.hands) delivery.ack();
      await expect.poll(() => queue.counts(), SOON).toEqual({ waiting: 0, inHand: 0, redelivered: 0 });
    });

    test('what is forgotten leaves the hands and makes room', async () => {
      const queue = await harness.open();
      const worker = startWorker(await harness.open(), 1);
      queue.publish(workItem(0));
      await expect.poll(() => worker.indices, SOON).toEqual([0]);
      queue.publish(workItem(1));
      worker.hands[0]?.forget();
      await expect.poll(() => worker.indices, SOON).toEqual([0, 1]);
    });

    test('an item that is published over is delivered at once, and its old holder settles nothing', async () => {
      const queue = await harness.open();
      const first = startWorker(await harness.open(), 1);
      queue.publish(workItem(0));
      await expect.poll(() => first.indices, SOON).toEqual([0]);
      first.consumer.setCapacity(0);
      const second = startWorker(await harness.open(), 1);
      queue.republish(workItem(0));
      await expect.poll(() => second.indices, SOON).toEqual([0]);
      first.hands[0]?.ack();
      // The new delivery is still the queue's: when it is released it comes again.
      const third = startWorker(await harness.open(), 1);
      second.consumer.setCapacity(0);
      second.hands[0]?.release();
      await expect.poll(() => third.indices, SOON).toEqual([0]);
    });

    test('what is withdrawn is not delivered, and can be published again', async () => {
      const queue = await harness.open();
      queue.publish(workItem(0));
      queue.publish(workItem(1));
      queue.withdraw(workItem(0));
      const worker = startWorker(await harness.open(), 10);
      await expect.poll(() => worker.indices, SOON).toEqual([1]);
      queue.withdraw(workItem(1));
      queue.publish(workItem(1));
      await expect.poll(() => worker.indices, SOON).toEqual([1, 1]);
    });

    test('workers that wait get even shares', async () => {
      const queue = await harness.open();
      const workers = [startWorker(await harness.open(), 20), startWorker(await harness.open(), 20)];
      queue.publish(workItem(100));
      const delivered = (): number => workers.reduce((sum, { hands }) => sum + hands.length, 0);
      await expect.poll(delivered, SOON).toBe(1);
      for (let index = 0; index < 20; index += 1) queue.publish(workItem(index));
      await expect.poll(delivered, SOON).toBe(21);
      for (const { hands } of workers) expect(hands.length).toBeGreaterThanOrEqual(5);
    });

    test('a worker that closes hands over what it has', async () => {
      const queue = await harness.open();
      const first = startWorker(await harness.open(), 5);
      for (let index = 0; index < 3; index += 1) queue.publish(workItem(index));
      await expect.poll(() => first.hands.length, SOON).toBe(3);
      first.consumer.close();
      first.consumer.close();
      const second = startWorker(await harness.open(), 5);
      await expect.poll(() => second.indices.toSorted((a, b) => a - b), SOON).toEqual([0, 1, 2]);
    });

    test('runs keep apart, and one that is dropped leaves nothing', async () => {
      const queue = await harness.open();
      queue.publish(workItem(0, 'a'));
      queue.publish(workItem(0, 'a.b'));
      queue.publish(workItem(0, '*'));
      const worker = startWorker(await harness.open(), 10, 'a.b');
      await expect.poll(() => worker.hands.map(({ item }) => item.runId), SOON).toEqual(['a.b']);
      queue.drop('*');
      // The publish comes after the drop: whoever drops a run does not go on with it, but a new one may.
      queue.publish(workItem(7, '*'));
      const dropped = startWorker(await harness.open(), 10, '*');
      await expect.poll(() => dropped.indices, SOON).toEqual([7]);
    });
  });
}
