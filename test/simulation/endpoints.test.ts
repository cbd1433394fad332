/**
 * Endpoints are added, drained and removed in the middle of the runs of simulated clusters, whose leaders are
 * killed meanwhile: the dataset is that of a single process, nothing is paid twice, and nothing is sent to
 * an endpoint that was drained or removed once that is known.
 */
import { expect, test } from 'vitest';
import { runSingleton } from '../../src/actors/directory.ts';
import type { RunEndpoint } from '../../src/ports/store.ts';
import { ClusterWorld } from '../support/cluster-world/cluster-world.ts';
import { Dice } from '../support/cluster-world/dice.ts';
import { ENDPOINT } from '../support/cluster-world/scripted-model.ts';
import { DIALOGUE, expectWhole, PARTS, undisturbed } from '../support/cluster-world/simulate.ts';
import { changeOf } from '../support/endpoint-plans.ts';
import { RUN } from '../support/world.ts';

const MAX_IN_FLIGHT = 2;
/** A look, the way to the router, and the way of what was granted before. */
const KNOWN_MS = 1_500;
/** Until somebody leads again what a killed process led. */
const LED_AGAIN_MS = 15_000;

const isOver = ({ referee }: ClusterWorld): boolean =>
  referee.status !== 'running' || referee.violations.length > 0;

async function startedWorld(seed: string): Promise<ClusterWorld> {
  const world = new ClusterWorld({
    seed,
    dialogue: DIALOGUE,
    parts: PARTS,
    maxInFlight: MAX_IN_FLIGHT,
    judgesOpenCalls: true,
    latencyMs: [1_000, 4_000],
    troubleRate: 0.05,
    storeFaults: { lossRate: 0.01, surfaceRate: 0 },
    keepTrace: false,
  });
  await world.submit();
  world.startWorker(world.startAgent());
  world.startWorker(world.startAgent());
  return world;
}

const asked = (world: ClusterWorld, name: string): number =>
  world.model.lastAskedMs.get(name) ?? Number.NEGATIVE_INFINITY;

/** How the configured endpoint is kept by whoever leads the run. */
async function configured(world: ClusterWorld): Promise<RunEndpoint> {
  const { endpoints } = await world.truth.runEndpoints(RUN);
  const row = endpoints.find(({ name }) => name === ENDPOINT);
  if (row === undefined) throw new Error('nobody has written it down');
  return row;
}

const added = (name: string, wanted: RunEndpoint['wanted'] = 'use'): RunEndpoint =>
  changeOf(name, { maxInFlight: MAX_IN_FLIGHT, wanted });

/** `kills`: whoever leads the run is killed when the endpoint is drained. */
async function expectSwitch(seed: number, kills: boolean): Promise<void> {
  const dice = new Dice(`endpoints ${seed}`);
  const world = await startedWorld(`endpoints ${seed}`);
  const { clock, referee } = world;
  const until = (holds: () => boolean, limitMs: number): Promise<void> =>
    clock.runUntil(() => holds() || isOver(world), { limitMs });
  const pass = (ms: number): Promise<void> => {
    const endMs = clock.now() + ms;
    clock.schedule(ms, () => undefined);
    return until(() => clock.now() >= endMs, ms);
  };
  try {
    await until(() => referee.counts.calls > dice.between(2, 10), 60_000);
    await world.setEndpoint(added('second'));
    await until(() => asked(world, 'second') > 0, 30_000);
    await pass(dice.between(0, 3_000));
    await world.setEndpoint({ ...(await configured(world)), wanted: 'drain' });
    if (kills) {
      const leader = world.living.find(
        ({ body, node }) => node?.membership.leaderOf(runSingleton(RUN))?.node === body.name,
      );
      if (leader === undefined) throw new Error('nobody leads the run');
      world.kill(leader);
      world.startWorker(world.startAgent());
    }
    await pass(kills ? LED_AGAIN_MS : KNOWN_MS);
    const knownMs = clock.now();
    await pass(dice.between(2_000, 10_000));
    // Removed and added again, it is used again.
    await world.setEndpoint(added('second', 'remove'));
    await world.setEndpoint({ ...(await configured(world)), wanted: 'use' });
    expect(asked(world, ENDPOINT), 'the drained endpoint was asked').toBeLessThanOrEqual(knownMs);
    await pass(KNOWN_MS);
    const removedMs = clock.now();
    await pass(3_000);
    expect(asked(world, ENDPOINT), 'it is used again').toBeGreaterThan(removedMs);
    expect(isOver(world), 'all of this was in the middle of the run').toBe(false);
    expect(asked(world, 'second'), 'the removed endpoint was asked').toBeLessThanOrEqual(removedMs);
    await world.setEndpoint(added('second'));
    await clock.runUntil(() => isOver(world), { limitMs: 300_000 });
    await expectWhole(world, await undisturbed());
    expect(referee.violations, `seed ${seed}`).toEqual([]);
  } finally {
    await world.close();
  }
}

const SEEDS = Array.from({ length: 10 }, (_, index) => index + 1);

test('I5, I7: another endpoint takes over from the configured one, and back', async () => {
  for (const seed of SEEDS) await expectSwitch(seed, false);
});

test('I5, I7: the same when whoever leads the run is killed meanwhile', async () => {
  for (const seed of SEEDS) await expectSwitch(100 + seed, true);
});

test('calls wait while every endpoint is drained, and go on with the next one', async () => {
  const world = await startedWorld('endpoints drained');
  const { clock, referee } = world;
  try {
    await clock.runUntil(() => referee.counts.calls > 5, { limitMs: 60_000 });
    await world.setEndpoint({ ...(await configured(world)), wanted: 'remove' });
    clock.schedule(60_000, () => undefined);
    const fromMs = clock.now();
    await clock.runUntil(() => clock.now() >= fromMs + 60_000, { limitMs: 60_000 });
    expect(asked(world, ENDPOINT)).toBeLessThan(fromMs + KNOWN_MS);
    expect(referee.status).toBe('running');
    await world.setEndpoint(added('second'));
    await clock.runUntil(() => isOver(world), { limitMs: 300_000 });
    await expectWhole(world, await undisturbed());
    expect(referee.violations).toEqual([]);
  } finally {
    await world.close();
  }
});
