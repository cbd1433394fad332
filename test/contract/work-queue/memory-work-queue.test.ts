import { createMemoryWorkQueue } from '../../../src/transport/memory-work-queue.ts';
import { workQueueContract } from './work-queue-contract.ts';

workQueueContract('memory', async () => {
  const queue = createMemoryWorkQueue();
  return { open: () => Promise.resolve(queue), close: () => Promise.resolve() };
});
