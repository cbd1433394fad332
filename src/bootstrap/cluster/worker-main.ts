/**
 * The main module of a worker process. It does what its parent's channel says, and ends when the channel
 * closes: a worker without its node is nobody's.
 */
import { processEnvironment } from '../../config/environment.ts';
import { messageOf } from '../../kernel/errors.ts';
import { type ClusterWorker, startWorker } from './worker.ts';
import type { WorkerOrders, WorkerReport } from './worker-orders.ts';

const report = (message: WorkerReport): void => {
  process.send?.(message);
};

let worker: Promise<ClusterWorker> | null = null;

process.on('disconnect', () => process.exit(0));
// A signal from the terminal reaches the whole group; the parent decides what becomes of its workers.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.on('SIGHUP', () => undefined);

process.on('message', (orders: WorkerOrders) => {
  if (orders.type === 'join') {
    const started = startWorker(orders, processEnvironment());
    worker = started;
    started.then(
      () => report({ type: 'joined' }),
      (error: unknown) => {
        report({ type: 'failed', message: messageOf(error) });
        // The report goes first.
        setTimeout(() => process.exit(1), 50);
      },
    );
    return;
  }
  // The parent asks for metrics over the same channel.
  if (orders.type !== 'drain') return;
  void (async () => {
    await (await worker)?.drain();
    process.exit(0);
  })().catch((error: unknown) => {
    report({ type: 'failed', message: messageOf(error) });
    process.exit(1);
  });
});
