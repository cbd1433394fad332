/**
 * The work queue of one process, or of a simulated cluster in one.
 *
 * Owns: per run the items that wait, in order, and what each consumer has in hand. Bounded by what is
 * published: the schedule opens no more than its window.
 */
import type { Delivery, WorkConsumer, WorkItem, WorkQueue } from '../ports/work-queue.ts';

export interface MemoryWorkQueue extends WorkQueue {
  /** As a server that comes back empty: what waits is gone, and the publishers hear of it. */
  lose(): void;
  /** Items that wait, of all runs. */
  readonly waiting: number;
}

interface Consumer {
  capacity: number;
  readonly deliver: (delivery: Delivery) => void;
  /** The newest delivery of each item; an older one of the same item means nothing any more. */
  readonly inHand: Map<string, Delivery>;
}

interface RunQueue {
  readonly waiting: Map<string, WorkItem>;
  /** Those of them, and of those in hand, that have been in hand before. */
  readonly returned: Set<string>;
  readonly consumers: Set<Consumer>;
}

const nameOf = (item: WorkItem): string => `${item.languageIndex}/${item.index}`;

export function createMemoryWorkQueue(): MemoryWorkQueue {
  const runs = new Map<string, RunQueue>();
  const listeners = new Set<() => void>();

  const runOf = (runId: string): RunQueue => {
    const run = runs.get(runId) ?? { waiting: new Map(), returned: new Set(), consumers: new Set() };
    runs.set(runId, run);
    return run;
  };

  /** The consumer with the most free places, so that workers fill up evenly. */
  const freest = ({ consumers }: RunQueue): Consumer | null => {
    let best: Consumer | null = null;
    let bestFree = 0;
    for (const consumer of consumers) {
      const free = consumer.capacity - consumer.inHand.size;
      if (free > bestFree) {
        best = consumer;
        bestFree = free;
      }
    }
    return best;
  };

  const dispatch = (run: RunQueue): void => {
    for (const [name, item] of run.waiting) {
      const consumer = freest(run);
      if (consumer === null) return;
      run.waiting.delete(name);
      hand(run, consumer, name, item);
    }
  };

  const hand = (run: RunQueue, consumer: Consumer, name: string, item: WorkItem): void => {
    const leave = (): boolean => consumer.inHand.get(name) === delivery && consumer.inHand.delete(name);
    const gone = (): void => {
      if (!leave()) return;
      run.returned.delete(name);
      dispatch(run);
    };
    const delivery: Delivery = {
      item,
      renew: () => undefined,
      ack: gone,
      forget: gone,
      release() {
        if (!leave()) return;
        run.returned.add(name);
        run.waiting.set(name, item);
        dispatch(run);
      },
    };
    consumer.inHand.set(name, delivery);
    consumer.deliver(delivery);
  };

  const takeOut = (item: WorkItem): RunQueue => {
    const run = runOf(item.runId);
    const name = nameOf(item);
    run.waiting.delete(name);
    run.returned.delete(name);
    for (const { inHand } of run.consumers) inHand.delete(name);
    return run;
  };

  return {
    publish(item) {
      const run = runOf(item.runId);
      const name = nameOf(item);
      if (run.waiting.has(name) || [...run.consumers].some(({ inHand }) => inHand.has(name))) return;
      run.waiting.set(name, item);
      dispatch(run);
    },
    republish(item) {
      const run = takeOut(item);
      run.waiting.set(nameOf(item), item);
      dispatch(run);
    },
    withdraw(item) {
      dispatch(takeOut(item));
    },
    consume(runId, capacity, deliver): WorkConsumer {
      const run = runOf(runId);
      const consumer: Consumer = { capacity, deliver, inHand: new Map() };
      run.consumers.add(consumer);
      dispatch(run);
      return {
        setCapacity(next) {
          consumer.capacity = next;
          dispatch(run);
        },
        close() {
          if (!run.consumers.delete(consumer)) return;
          for (const [name, { item }] of consumer.inHand) {
            run.returned.add(name);
            run.waiting.set(name, item);
          }
          consumer.inHand.clear();
          dispatch(run);
        },
      };
    },
    onLoss(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    drop(runId) {
      runs.get(runId)?.waiting.clear();
      runs.get(runId)?.returned.clear();
    },
    lose() {
      for (const { waiting, returned } of runs.values()) {
        for (const name of waiting.keys()) returned.delete(name);
        waiting.clear();
      }
      for (const listener of listeners) listener();
    },
    counts() {
      const total = { waiting: 0, inHand: 0, redelivered: 0 };
      for (const { waiting, returned, consumers } of runs.values()) {
        total.waiting += waiting.size;
        for (const { inHand } of consumers) {
          total.inHand += inHand.size;
          for (const name of inHand.keys()) if (returned.has(name)) total.redelivered += 1;
        }
      }
      return Promise.resolve(total);
    },
    get waiting() {
      return [...runs.values()].reduce((sum, { waiting }) => sum + waiting.size, 0);
    },
  };
}
