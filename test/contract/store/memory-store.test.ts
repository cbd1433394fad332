import { describe, expect, it } from 'vitest';
import { persistenceId } from '../../../src/kernel/ids.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { clusterContract } from './cluster-contract.ts';
import { runEndpointsContract } from './run-endpoints-contract.ts';
import { storeContract } from './store-contract.ts';
import { verdictContract } from './verdict-contract.ts';

describe('memory store', () => {
  storeContract((use) => use(new MemoryStore()));
  clusterContract((use) => use(new MemoryStore()));
  verdictContract((use) => use(new MemoryStore()));
  runEndpointsContract((use) => use(new MemoryStore()));

  it('shares nothing by reference', async () => {
    const { journal } = new MemoryStore();
    const id = persistenceId('shared');
    const { epoch } = await journal.recover(id);
    const event = { type: 'A', list: [1] };
    await journal.append(id, epoch, 0, [event]);
    event.list.push(2);
    const [read] = await journal.read(id);
    expect(read?.event).toEqual({ type: 'A', list: [1] });
  });
});
