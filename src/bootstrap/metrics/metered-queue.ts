/** A work queue whose traffic through this process is counted. */
import type { Metrics } from '../../kernel/metrics.ts';
import type { Delivery, WorkConsumer, WorkQueue } from '../../ports/work-queue.ts';
import { delegating } from './delegating.ts';

export function meteredQueue(queue: WorkQueue, metrics: Metrics): WorkQueue {
  if (!metrics.isOn) return queue;
  const inHand = metrics.gauge('dlgforge_queue_in_hand');
  const published = (again: 'yes' | 'no') => metrics.counter('dlgforge_queue_published_total', { again });
  const ended = (end: End) => metrics.counter('dlgforge_queue_deliveries_total', { end });

  const counted = (delivery: Delivery): Delivery => {
    let isInHand = true;
    inHand.add(1);
    const finish = (end: End): void => {
      if (!isInHand) return;
      isInHand = false;
      inHand.add(-1);
      ended(end).add();
    };
    return {
      item: delivery.item,
      renew: () => delivery.renew(),
      ack: () => (finish('acked'), delivery.ack()),
      release: () => (finish('released'), delivery.release()),
      forget: () => (finish('forgotten'), delivery.forget()),
    };
  };
  const replaced: Pick<WorkQueue, 'publish' | 'republish' | 'consume'> = {
    publish(item) {
      published('no').add();
      queue.publish(item);
    },
    republish(item) {
      published('yes').add();
      queue.republish(item);
    },
    consume: (runId, capacity, deliver): WorkConsumer =>
      queue.consume(runId, capacity, (delivery) => deliver(counted(delivery))),
  };
  return delegating(queue, replaced, () => undefined);
}

type End = 'acked' | 'released' | 'forgotten';
