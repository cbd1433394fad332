import { afterEach, beforeEach, expect, test } from 'vitest';
import { createWorkerPool, type WorkerPool } from '../../../../src/bootstrap/cluster/worker-pool.ts';
import { waitFor } from '../../../support/processes.ts';

const node = process.execPath;
let ends: string[];
let pool: WorkerPool;

beforeEach(() => {
  ends = [];
  pool = createWorkerPool({
    parent: 'node',
    orders: {} as Parameters<typeof createWorkerPool>[0]['orders'],
    environment: {},
    logger: { log: () => undefined },
    onEnd: (worker) => ends.push(worker),
  });
});
afterEach(async () => {
  process.execPath = node;
  await pool.drain(0);
});

test('a process that could not be made is tried again, and a drain does not wait for it', async () => {
  process.execPath = '/no/such/node';
  pool.resize(2);
  // Each is declared over, and each is tried once more at once.
  await waitFor(
    () => (ends.length >= 4 ? true : undefined),
    5_000,
    () => `${ends.length} ends`,
  );
  expect(new Set(ends.map((end) => end.split('-')[0]))).toEqual(new Set(['node.w0', 'node.w1']));
  expect(pool.running).toEqual([]);
  await pool.drain(60_000);
});
