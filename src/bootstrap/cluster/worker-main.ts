/**
 * The main module of a worker process. It does what its parent's channel says, and ends when the channel
 * closes: a worker without its node is nobody's.
 */
import { processEnvironment } from '../../config/environment.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { ClusterAddress } from './find-cluster.ts';
import type { StoreLimits } from './join.ts';
import { startWorker, type ClusterWorker } from './worker.ts';

export type WorkerOrders =
  | {
      readonly type: 'join';
      readonly name: string;
      readonly parent: string;
      readonly address: ClusterAddress;
      readonly labels: Readonly<Record<string, string>>;
      readonly limits: Partial<StoreLimits>;
      readonly runtimeDir: string | null;
      readonly logsDir: string;
      readonly cacheDir: string;
      /** Where `.env` files are looked for. */
      readonly folder: string;
      /** A configuration whose own keys count here; null: the environment alone. */
      readonly configPath: string | null;
      readonly command: string;
      readonly metrics: boolean;
    }
  /** Give the conversations back, then end. */
  | { readonly type: 'drain' };

export type WorkerReport =
  | { readonly type: 'joined' }
  | { readonly type: 'failed'; readonly message: string };

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
