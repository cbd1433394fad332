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

/** What was said last is on its way by then. */
const FAREWELL_MS = 50;

let worker: Promise<ClusterWorker> | null = null;

process.on('disconnect', () => {
  worker?.then((joined) => joined.leaveAtOnce()).catch(() => undefined);
  setTimeout(() => process.exit(0), FAREWELL_MS);
});
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
        setTimeout(() => process.exit(1), FAREWELL_MS);
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
