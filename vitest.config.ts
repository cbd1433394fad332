import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** `unit`, `contract` and `simulation` are the quick loop; `cli`, `cluster`, `faults` and `times` start real servers and processes. */
const project = (name: string, extra: Record<string, unknown> = {}) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    pool: 'forks' as const,
    testTimeout: 20_000,
    ...extra,
  },
});

/** Many tests wait for servers: on two cores, two files at a time take little more than half the time of one. */
const WORKERS = Math.max(2, availableParallelism() - 1);

const FAULTS = { testTimeout: 600_000, hookTimeout: 120_000 };
/** They measure times, or load the machine. */
const MEASURING = [
  'cluster-backpressure',
  'cluster-elastic',
  'cluster-failure-times',
  'cluster-limits',
  'cluster-nemesis',
  'cluster-partition',
  'kill',
  'vllm-process-tree',
].map((name) => `test/faults/${name}.test.ts`);

export default defineConfig({
  test: {
    maxWorkers: WORKERS,
    projects: [
      // Its files share the modules that they load: half of their time went into loading them again.
      project('unit', { pool: 'threads', isolate: false }),
      project('contract', { hookTimeout: 60_000 }),
      project('simulation', { testTimeout: 60_000 }),
      project('cli', { testTimeout: 120_000, hookTimeout: 120_000 }),
      project('cluster', { testTimeout: 120_000, hookTimeout: 120_000 }),
      project('faults', { ...FAULTS, exclude: MEASURING, sequence: { groupOrder: 1 } }),
      // Each file has the machine to itself, after all others.
      project('times', {
        ...FAULTS,
        include: MEASURING,
        fileParallelism: false,
        sequence: { groupOrder: 2 },
      }),
    ],
  },
});
