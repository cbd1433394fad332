/**
 * Whole clusters in one process, each on a clock, network, database and model of its own, while nodes are
 * killed, stand still and lose each other. Everything comes from the seed: a failing one is replayed with
 * `npm run simulate -- --seed N --trace`.
 */
import { expect, test } from 'vitest';
import { simulate } from '../support/cluster-world/simulate.ts';

const { DLGFORGE_SIM_SEED, DLGFORGE_SIM_SEEDS } = process.env;
const ALL_SEEDS = 200;
/** The quick loop runs fewer (scripts/check.mjs). */
const SEEDS = Number(DLGFORGE_SIM_SEEDS ?? ALL_SEEDS);
const PER_TEST = 25;
const FAULTS = [
  'add',
  'cut off',
  'cut off a leader',
  'cut one way',
  'drain',
  'freeze',
  'freeze a leader',
  'kill a leader',
  'kill a node',
  'kill a worker',
  'partition',
  'pause',
  'queue lost',
  'store away',
  'store cut',
  'weather',
];

const struck = new Set<string>();

async function expectHolds(seed: number): Promise<void> {
  const { broken, faults } = await simulate({ seed });
  for (const fault of faults.keys()) struck.add(fault);
  expect(broken, `seed ${seed}; replay it with: npm run simulate -- --seed ${seed} --trace`).toEqual([]);
}

if (DLGFORGE_SIM_SEED !== undefined) {
  test(`a cluster keeps its promises: seed ${DLGFORGE_SIM_SEED}`, async () => {
    await expectHolds(Number(DLGFORGE_SIM_SEED));
  });
} else {
  for (let from = 1; from <= SEEDS; from += PER_TEST) {
    const to = Math.min(from + PER_TEST - 1, SEEDS);
    test(`I1, I2, I3, I4, I5, I7: a cluster keeps its promises, whatever happens: seeds ${from} to ${to}`, async () => {
      for (let seed = from; seed <= to; seed += 1) await expectHolds(seed);
    });
  }

  test.runIf(SEEDS >= ALL_SEEDS)('these seeds meet every kind of fault', () => {
    expect([...struck].toSorted()).toEqual(FAULTS.toSorted());
  });
}

test('a seed is replayed exactly', async () => {
  for (const seed of [3, 14, 159]) {
    const [first, second] = [
      await simulate({ seed, keepTrace: true }),
      await simulate({ seed, keepTrace: true }),
    ];
    expect(first.trace.length).toBeGreaterThan(100);
    expect(second.trace).toEqual(first.trace);
    expect(second.digest).toBe(first.digest);
  }
});
