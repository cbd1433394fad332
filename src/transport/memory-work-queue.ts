/**
 * The work queue of one process.
 *
 * Owns: items that wait, in order, and what each consumer has in hand. Bounded by what is published:
 * the schedule opens no more than its window.
 */
import type { Delivery, WorkConsumer, WorkItem, WorkQueue } from '../ports/work-queue.ts';

interface Consumer {
  readonly capacity: number;
  readonly deliver: (delivery: Delivery) => void;
  readonly inHand: Map<string, WorkItem>;
}

const nameOf = (item: WorkItem): string => `${item.runId}/${item.languageIndex}/${item.index}`;

export function createMemoryWorkQueue(): WorkQueue {
  const waiting = new Map<string, WorkItem>();
  const consumers = new Set<Consumer>();

  const isTaken = (name: string): boolean => [...consumers].some((consumer) => consumer.inHand.has(name));

  /** The consumer with the most free places, so that workers fill up evenly. */
  const freest = (): Consumer | null => {
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

  const dispatch = (): void => {
    for (const [name, item] of waiting) {
      const consumer = freest();
      if (consumer === null) return;
      waiting.delete(name);
      consumer.inHand.set(name, item);
      consumer.deliver({
        item,
        ack: () => {
          if (consumer.inHand.delete(name)) dispatch();
        },
        release: () => {
          if (!consumer.inHand.delete(name)) return;
          waiting.set(name, item);
          dispatch();
        },
      });
    }
  };

  return {
    publish(item) {
      const name = nameOf(item);
      if (waiting.has(name) || isTaken(name)) return;
      waiting.set(name, item);
      dispatch();
    },
    consume(capacity, deliver): WorkConsumer {
      const consumer: Consumer = { capacity, deliver, inHand: new Map() };
      consumers.add(consumer);
      dispatch();
      return {
        close() {
          if (!consumers.delete(consumer)) return;
          for (const [name, item] of consumer.inHand) waiting.set(name, item);
          consumer.inHand.clear();
          dispatch();
        },
      };
    },
    get waiting() {
      return waiting.size;
    },
  };
}
