import {
  createMemoryTransport,
  type MemoryTransportOptions,
} from '../../../src/transport/memory-transport.ts';
import { broadcastContract } from './broadcast-contract.ts';
import { transportContract, type TransportHarness } from './transport-contract.ts';

const harness = (options: MemoryTransportOptions) => async (): Promise<TransportHarness> => {
  const transport = createMemoryTransport(options);
  return {
    open: () => Promise.resolve(transport),
    async kill(node) {
      transport.kill(node);
    },
    close: () => Promise.resolve(),
  };
};

const delays = { seed: 7, delayMs: { min: 0, max: 5 }, detectLossMs: 10 };

transportContract('memory', harness({}));
transportContract('memory, with delays', harness(delays));
broadcastContract('memory', harness({}));
broadcastContract('memory, with delays', harness(delays));
broadcastContract('memory, where only a verdict tells of a loss', harness({ detectLossMs: null }));
