import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DlgforgeError } from '../../src/kernel/errors.ts';
import { persistenceId } from '../../src/kernel/ids.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import type { Store } from '../../src/ports/store.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { failing, withPart } from '../support/failing.ts';
import { memoryRetriever, seaPassages } from '../support/memory-retriever.ts';
import {
  committedOf,
  droppedOf,
  expectWhole,
  explodingLogger,
  journalledAnswers,
  until,
} from '../support/simulation.ts';
import { hurried, startWorld, type WorldOptions } from '../support/world.ts';

let rehearsal: Rehearsal;
beforeEach(async () => {
  rehearsal = await startRehearsal({
    seed: 31,
    duplicate_rate: 0.3,
    latency: { mean_ms: 1, distribution: 'lognormal' },
  });
});
afterEach(() => rehearsal.close());

/** Conversations per language. */
const SAMPLES = 3;
const start = (store: Store, options: Partial<WorldOptions> = {}) =>
  startWorld({
    store,
    url: rehearsal.url,
    totalSamples: SAMPLES,
    batchSize: 6,
    clock: hurried,
    settings: { turns: { min: 1, max: 3, distribution: 'uniform', mean: null } },
    ...options,
  });

async function runToEnd(store: Store, options: Partial<WorldOptions> = {}) {
  const world = await start(store, options);
  const end = await world.end;
  await world.close();
  return end;
}

/** Every paid answer was asked for once: a restart asks the journal first. */
async function expectNothingPaidTwice(store: Store): Promise<void> {
  const answers = await journalledAnswers(store);
  const keys = answers.map(({ conversation, requestKey }) => `${conversation} ${requestKey}`);
  expect(new Set(keys).size).toBe(keys.length);
}

/** The dataset without journal positions, which depend on what was asked in vain. */
const bytesOf = async (store: Store): Promise<string> =>
  JSON.stringify(await committedOf(store), (key, value: unknown) =>
    key === 'answerSeqs' || key === 'conversationJudgeAnswerSeq' ? null : value,
  );

let undisturbed: string | null = null;
async function expectSameAsUndisturbed(store: Store): Promise<void> {
  if (undisturbed === null) {
    const calm = new MemoryStore();
    expect(await runToEnd(calm)).toEqual({ type: 'completed' });
    undisturbed = await bytesOf(calm);
  }
  expect(await bytesOf(store)).toBe(undisturbed);
}

describe('an actor that fails in the middle is restarted, and the dataset is the same', () => {
  const disk = () => new DlgforgeError('store', 'the disk was full for a moment');
  const at =
    (...calls: readonly number[]) =>
    (call: number): boolean =>
      calls.includes(call);

  test.each([
    [
      'the committer, in the middle of a commit',
      (store: MemoryStore) => failing<Store>(store, 'commit', at(1, 4, 5), disk),
    ],
    [
      'the committer, while it looks questions up',
      (store: MemoryStore) => failing<Store>(store, 'knownQuestions', at(3, 9, 10), disk),
    ],
    [
      'the coordinator, while it starts',
      (store: MemoryStore) => failing<Store>(store, 'runCounts', at(1), disk),
    ],
  ])('%s', async (_, inject) => {
    const store = new MemoryStore();
    const faulty = inject(store);
    expect(await runToEnd(faulty.target)).toEqual({ type: 'completed' });
    expect(faulty.fired()).toBeGreaterThan(0);
    await expectWhole(store, SAMPLES);
    await expectSameAsUndisturbed(store);
    await expectNothingPaidTwice(store);
  });

  test('the coordinator, when its committer fails so often that it is given up', async () => {
    const store = new MemoryStore();
    const faulty = failing<Store>(store, 'commit', (call) => call >= 2 && call < 10, disk);
    const world = await start(faulty.target);
    expect(await world.end).toEqual({ type: 'completed' });
    expect(world.actors().find((actor) => actor.kind === 'coordinator')?.restarts).toBe(1);
    await world.close();
    await expectWhole(store, SAMPLES);
    await expectSameAsUndisturbed(store);
    await expectNothingPaidTwice(store);
  });

  test.each(['append', 'recover'] as const)(
    'conversations whose journal fails to %s now and then',
    async (method) => {
      const store = new MemoryStore();
      const journal = failing(store.journal, method, (call) => call % 13 === 1, disk);
      const faulty = withPart<Store, 'journal'>(store, 'journal', journal.target);
      expect(await runToEnd(faulty)).toEqual({ type: 'completed' });
      await expectWhole(store, SAMPLES);
      await expectSameAsUndisturbed(store);
      expect(journal.fired()).toBeGreaterThan(0);
    },
  );

  test.each([
    ['a language wave', /^\[samples\]/],
    ['a conversation, after it has written', /^\[judge-online\]/],
  ])('%s', async (_, pattern) => {
    const store = new MemoryStore();
    const { logger, fired } = explodingLogger(pattern);
    expect(await runToEnd(store, { logger })).toEqual({ type: 'completed' });
    expect(fired()).toBe(1);
    await expectSameAsUndisturbed(store);
    await expectNothingPaidTwice(store);
  });

  test('the committer, when it sends something back', async () => {
    const store = new MemoryStore();
    const { logger, fired } = explodingLogger(/^\[commit\] .* goes back/);
    // So many collisions that guesses go wrong.
    rehearsal.setOptions({ duplicate_rate: 0.6 });
    const coverage = { mode: 'balanced', epsilon: 0.15, fraction: 0.2, dedupRetries: 6 } as const;
    const settings = { turns: { min: 2, max: 3, distribution: 'uniform', mean: null }, coverage } as const;
    expect(await runToEnd(store, { batchSize: 16, consecutiveDropsMax: 100, settings, logger })).toEqual({
      type: 'completed',
    });
    expect(fired()).toBe(1);
    await expectWhole(store, SAMPLES);
    await expectNothingPaidTwice(store);
  });

  test('conversations that recover from a snapshot, and some whose snapshot cannot be written', async () => {
    // Long enough for a snapshot in each of them.
    const long = {
      totalSamples: 1,
      settings: { turns: { min: 26, max: 26, distribution: 'uniform', mean: null } },
    } as const;
    const calm = new MemoryStore();
    expect(await runToEnd(calm, long)).toEqual({ type: 'completed' });
    const store = new MemoryStore();
    const appends = failing(store.journal, 'append', at(60, 170, 190), disk);
    const snapshots = failing(appends.target, 'saveSnapshot', (call) => call === 1, disk);
    expect(await runToEnd(withPart<Store, 'journal'>(store, 'journal', snapshots.target), long)).toEqual({
      type: 'completed',
    });
    expect(Math.min(appends.fired(), snapshots.fired())).toBeGreaterThan(0);
    expect(await bytesOf(store)).toBe(await bytesOf(calm));
    await expectNothingPaidTwice(store);
  });

  test('a worker: its conversations come back to it', async () => {
    const store = new MemoryStore();
    // One conversation is taken over by somebody, and the worker fails while it says so.
    let stale = 0;
    const journal = failing(
      store.journal,
      'append',
      (_call, [id]) => id === 'run/R/0/1' && (stale += 1) === 3,
      () => new DlgforgeError('stale_epoch', 'taken over'),
    );
    const { logger, fired } = explodingLogger(/went on elsewhere/);
    expect(await runToEnd(withPart<Store, 'journal'>(store, 'journal', journal.target), { logger })).toEqual({
      type: 'completed',
    });
    expect([journal.fired(), fired()]).toEqual([1, 1]);
    await expectSameAsUndisturbed(store);
  });

  test('the exporter: the next pass writes what this one did not', async () => {
    const store = new MemoryStore();
    let passes = 0;
    const project = (): Promise<void> => {
      passes += 1;
      if (passes === 1) throw new Error('thrown at once');
      return passes === 2 ? Promise.reject(new DlgforgeError('output', 'no space left')) : Promise.resolve();
    };
    const world = await start(store, { project });
    expect(await world.end).toEqual({ type: 'completed' });
    await until(() => passes >= 1, 'a pass');
    await world.flush().catch(() => undefined);
    await world.flush().catch(() => undefined);
    await world.flush();
    await world.close();
    expect(passes).toBeGreaterThanOrEqual(3);
    await expectWhole(store, SAMPLES);
  });

  test('an exporter that can never write says so in the end', async () => {
    const world = await start(new MemoryStore(), {
      project: () => Promise.reject(new DlgforgeError('output', 'no space left')),
    });
    expect(await world.end).toEqual({ type: 'completed' });
    await expect(world.flush()).rejects.toMatchObject({
      code: 'output',
      message: expect.stringContaining('no space left') as string,
    });
    await world.close();
  });
});

describe('a poisonous conversation', () => {
  const journalOf = (languageIndex: number, index: number) =>
    persistenceId(`run/R/${languageIndex}/${index}`);
  const poison = async (store: Store, event: unknown): Promise<void> => {
    const { epoch } = await store.journal.recover(journalOf(0, 1));
    await store.journal.append(journalOf(0, 1), epoch, 0, [event]);
  };

  test('is dropped as crashed, with the reason in the log, and another takes its place', async () => {
    const store = new MemoryStore();
    await poison(store, { type: 'QuestionAccepted' });
    expect(await runToEnd(store)).toEqual({ type: 'completed' });
    await expectWhole(store, SAMPLES);
    expect(await droppedOf(store)).toMatchObject([
      { languageIndex: 0, index: 1, reason: 'crashed', payload: null },
    ]);
  });

  test('whose journal was written by another release stops the run instead of losing what was paid', async () => {
    const store = new MemoryStore();
    await poison(store, { type: 'SomethingOfALaterRelease' });
    expect(await runToEnd(store)).toMatchObject({
      type: 'failed',
      trouble: {
        code: 'store',
        message: expect.stringMatching(/SomethingOfALaterRelease.*another release/) as string,
      },
    });
    expect(await droppedOf(store)).toEqual([]);
  });
});

describe('endpoints that go away', () => {
  test('A3: one that comes back within the patience costs nothing but time', async () => {
    const store = new MemoryStore();
    const { port } = rehearsal;
    const world = await start(store, { patienceMs: 60_000 });
    await until(async () => (await journalledAnswers(store)).length > 10, 'ten answers');
    await rehearsal.close();
    await new Promise((resolve) => setTimeout(resolve, 150));
    rehearsal = await startRehearsal({ seed: 31, duplicate_rate: 0.3, port });
    expect(await world.end).toEqual({ type: 'completed' });
    await world.close();
    await expectSameAsUndisturbed(store);
  });

  test('one that stays away ends the run after the patience, resumably', async () => {
    const store = new MemoryStore();
    const { port } = rehearsal;
    const world = await start(store, { patienceMs: 4_000 });
    await until(async () => (await journalledAnswers(store)).length > 10, 'ten answers');
    await rehearsal.close();
    const end = await world.end;
    await world.close();
    expect(end).toMatchObject({ type: 'failed', trouble: { code: 'endpoint' } });
    expect(end.type === 'failed' && end.trouble.message).toMatch(
      /No endpoint of the .* has answered for 4 s.*run the same command again/s,
    );
    rehearsal = await startRehearsal({ seed: 31, duplicate_rate: 0.3, port });
    expect(await runToEnd(store)).toEqual({ type: 'completed' });
    await expectWhole(store, SAMPLES);
    await expectSameAsUndisturbed(store);
    await expectNothingPaidTwice(store);
  });

  test('one that refuses the key ends the run at once and says so', async () => {
    await rehearsal.close();
    rehearsal = await startRehearsal({ seed: 31, api_key: 'secret-1' });
    const end = await runToEnd(new MemoryStore());
    expect(end).toMatchObject({ type: 'failed', trouble: { code: 'credentials' } });
    expect(rehearsal.log().filter((entry) => entry.event === 'arrival').length).toBeLessThanOrEqual(16);
  });
});

describe('a knowledge base that fails', () => {
  const away = () => new DlgforgeError('retrieval', 'the index is locked');

  test('a few times, then works', async () => {
    const store = new MemoryStore();
    const search = failing(memoryRetriever(seaPassages()), 'search', (call) => call <= 3, away);
    const retriever = failing(search.target, 'get', (call) => call === 2 || call === 5, away);
    expect(await runToEnd(store, { retriever: retriever.target })).toEqual({ type: 'completed' });
    expect([retriever.fired(), search.fired()]).toEqual([2, 3]);
    await expectWhole(store, SAMPLES);
    await expectNothingPaidTwice(store);
  });

  test('for good, ends the run resumably and drops nothing', async () => {
    const store = new MemoryStore();
    const broken = failing(memoryRetriever(seaPassages()), 'get', () => true, away);
    expect(await runToEnd(store, { retriever: broken.target })).toMatchObject({
      type: 'failed',
      trouble: { code: 'retrieval', message: expect.stringContaining('the index is locked') as string },
    });
    expect(await droppedOf(store)).toEqual([]);
    expect(await runToEnd(store)).toEqual({ type: 'completed' });
    await expectSameAsUndisturbed(store);
  });
});

test('messages between actors are plain data: a run whose messages are copied through JSON gives the same dataset', async () => {
  const store = new MemoryStore();
  expect(await runToEnd(store, { strictMessages: true })).toEqual({ type: 'completed' });
  await expectSameAsUndisturbed(store);
});
