import { createMemoryTransport } from '../../../src/transport/memory-transport.ts';
import { transportContract } from './transport-contract.ts';

transportContract('memory', async () => {
  const transport = createMemoryTransport();
  return {
    open: () => Promise.resolve(transport),
    async kill(node) {
      transport.kill(node);
    },
    close: () => Promise.resolve(),
  };
});

transportContract('memory, with delays', async () => {
  const transport = createMemoryTransport({ seed: 7, delayMs: { min: 0, max: 5 }, detectLossMs: 10 });
  return {
    open: () => Promise.resolve(transport),
    async kill(node) {
      transport.kill(node);
    },
    close: () => Promise.resolve(),
  };
});
