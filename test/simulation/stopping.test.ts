import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import type { Store } from '../../src/ports/store.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import {
  committedOf,
  expectWhole,
  explodingLogger,
  journalledAnswers,
  until,
} from '../support/simulation.ts';
import { datasetOf, hurried, startWorld, type WorldOptions } from '../support/world.ts';

let rehearsal: Rehearsal;
beforeEach(async () => {
  rehearsal = await startRehearsal({
    seed: 41,
    duplicate_rate: 0.2,
    latency: { mean_ms: 10, distribution: 'lognormal' },
  });
});
afterEach(() => rehearsal.close());

const start = (store: Store, options: Partial<WorldOptions> = {}) =>
  startWorld({
    store,
    url: rehearsal.url,
    totalSamples: 4,
    batchSize: 6,
    clock: hurried,
    shutdownGraceMs: 40_000,
    settings: { turns: { min: 1, max: 3, distribution: 'uniform', mean: null } },
    ...options,
  });
const arrivals = (): number => rehearsal.log().filter((entry) => entry.event === 'arrival').length;
const answers = async (store: Store): Promise<number> => (await journalledAnswers(store)).length;

describe('stopping', () => {
  test('what is in flight is waited for and kept; going on pays for nothing twice and misses nothing', async () => {
    const store = new MemoryStore();
    let stops = 0;
    for (const enough of [4, 15, 30]) {
      const world = await start(store, { batchSize: [1, 6, 16][stops] as number });
      await until(async () => (await answers(store)) >= enough, `${enough} answers`);
      world.stop();
      world.stop();
      expect(await world.end).toEqual({ type: 'interrupted' });
      // Every call that was made has been answered and journalled when the run says that it has ended.
      expect(await answers(store)).toBe(arrivals());
      await world.close();
      expect(await answers(store)).toBe(arrivals());
      stops += 1;
    }
    const world = await start(store);
    expect(await world.end).toEqual({ type: 'completed' });
    await world.close();
    await expectWhole(store, 4);
    expect(await answers(store)).toBe(arrivals());

    const undisturbed = new MemoryStore();
    const calm = await start(undisturbed);
    expect(await calm.end).toEqual({ type: 'completed' });
    await calm.close();
    const bytes = (rows: unknown) =>
      JSON.stringify(rows, (key, value: unknown) => (/AnswerSeq|answerSeqs/.test(key) ? null : value));
    expect(bytes(await datasetOf(store))).toBe(bytes(await datasetOf(undisturbed)));
  });

  test('a call that does not end within the grace is cut off', async () => {
    rehearsal.setOptions({ stall_rate: 1, stall_s: 60 });
    const world = await start(new MemoryStore(), { timeoutMs: 60_000, shutdownGraceMs: 4_000 });
    await until(() => arrivals() > 0, 'a call');
    const before = Date.now();
    world.stop();
    expect(await world.end).toEqual({ type: 'interrupted' });
    expect(Date.now() - before).toBeGreaterThanOrEqual(150);
    await world.close();
    expect(Date.now() - before).toBeLessThan(5_000);
  });

  test('is not forgotten when the coordinator fails in the middle of it', async () => {
    rehearsal.setOptions({ stall_rate: 1, stall_s: 60 });
    const { logger, fired } = explodingLogger(/calls in flight were cut off/);
    const world = await start(new MemoryStore(), { timeoutMs: 60_000, shutdownGraceMs: 1_000, logger });
    await until(() => arrivals() > 0, 'a call');
    world.stop();
    expect(await world.end).toEqual({ type: 'interrupted' });
    expect(fired()).toBe(1);
    await world.close();
  });

  test('before anything was asked, and after everything was done', async () => {
    const store = new MemoryStore();
    const early = await start(store);
    early.stop();
    expect(await early.end).toEqual({ type: 'interrupted' });
    await early.close();
    const world = await start(store);
    expect(await world.end).toEqual({ type: 'completed' });
    world.stop();
    await world.close();
    await expectWhole(store, 4);
  });
});

test('B1, B2, B3: a finished run that is run again adds nothing and asks nothing', async () => {
  const store = new MemoryStore();
  const first = await start(store);
  expect(await first.end).toEqual({ type: 'completed' });
  await first.close();
  const [rows, asked] = [await datasetOf(store), arrivals()];
  for (const batchSize of [1, 32]) {
    const again = await start(store, { batchSize });
    expect(await again.end).toEqual({ type: 'completed' });
    await again.close();
  }
  expect(await datasetOf(store)).toEqual(rows);
  expect(arrivals()).toBe(asked);
  // A larger target adds only what is missing.
  const more = await start(store, { totalSamples: 6 });
  expect(await more.end).toEqual({ type: 'completed' });
  await more.close();
  await expectWhole(store, 6);
  expect((await datasetOf(store)).slice(0, rows.length)).toEqual(rows);
});

test('B4, B5: a run goes on in every language, with any batch size', async () => {
  const store = new MemoryStore();
  const languages = ['english', 'french', 'arabic'];
  const world = await start(store, { languages, totalSamples: 3, batchSize: 2 });
  await until(async () => (await committedOf(store)).length >= 2, 'two commits');
  await world.close();
  const resumed = await start(store, { languages, totalSamples: 3, batchSize: 5 });
  expect(await resumed.end).toEqual({ type: 'completed' });
  await resumed.close();
  await expectWhole(store, 3, 3);
});

test('D1, D2, D3: nobody waits for the slowest: others finish and commit, and free slots are filled, while one is stuck', async () => {
  const store = new MemoryStore();
  // Stragglers are a hundred times as slow as the others.
  rehearsal.setOptions({
    latency: { distribution: 'fixed', mean_ms: 5, straggler_rate: 0.02, straggler_factor: 60 },
  });
  const world = await start(store, { totalSamples: 12, batchSize: 4 });
  let [waiting, openAtOnce, committedEarly] = [0, 0, 0];
  const watch = async (): Promise<boolean> => {
    const view = await world.view();
    waiting = Math.max(waiting, view.waiting);
    openAtOnce = Math.max(openAtOnce, view.open);
    const committed = view.languages.reduce((sum, language) => sum + language.committed, 0);
    if (committed < 24) committedEarly = Math.max(committedEarly, committed);
    return view.languages.every((language) => language.ended !== null);
  };
  await until(watch, 'the end', 30_000);
  expect(await world.end).toEqual({ type: 'completed' });
  await world.close();
  expect(committedEarly, 'commits are made while others are generated').toBeGreaterThan(4);
  expect(waiting, 'some finish before lower ranks').toBeGreaterThan(0);
  expect(openAtOnce).toBeLessThanOrEqual(5);
});
