import { afterEach, expect, test } from 'vitest';
import { questionKey } from '../../src/dialogue/question-key.ts';
import type { ConversationPayload } from '../../src/dialogue/conversation-record.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import type { RehearsalOptionsInput } from '../../src/llm/rehearsal/options.ts';
import type { Store } from '../../src/ports/store.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { datasetOf, startWorld, type WorldOptions } from '../support/world.ts';

let rehearsal: Rehearsal | null = null;
afterEach(async () => {
  await rehearsal?.close();
  rehearsal = null;
});

async function runToEnd(knobs: RehearsalOptionsInput, world: Partial<WorldOptions> = {}): Promise<Store> {
  rehearsal = await startRehearsal(knobs);
  const store = world.store ?? new MemoryStore();
  const running = await startWorld({ store, url: rehearsal.url, ...world });
  const end = await running.end;
  await running.close();
  await rehearsal.close();
  expect(end).toEqual({ type: 'completed' });
  return store;
}

const committedOf = async (store: Store) =>
  (await datasetOf(store)).filter((row) => row.status === 'committed');

const questionsOf = (payload: unknown): string[] =>
  (payload as ConversationPayload).turns.map((turn) => turn.question['user_message'] as string);

test('every language gets its samples, in rank order, and no question twice', async () => {
  const store = await runToEnd({ seed: 1, duplicate_rate: 0.2 });
  const rows = await committedOf(store);
  expect(rows.map((row) => row.languageIndex).sort((a, b) => a - b)).toEqual([
    0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1,
  ]);
  const ranks = (await datasetOf(store)).map((row) => row.index * 2 + row.languageIndex);
  expect(ranks).toEqual([...ranks].sort((a, b) => a - b));
  const keys = rows.flatMap((row) => questionsOf(row.payload)).map(questionKey);
  expect(new Set(keys).size).toBe(keys.length);
});

/** Journal positions depend on what was asked in vain; the records do not contain them. */
const withoutSeqs = (rows: unknown): string =>
  JSON.stringify(rows, (key, value: unknown) =>
    key === 'answerSeqs' || key === 'conversationJudgeAnswerSeq' ? null : value,
  );

test('I5: the dataset does not depend on concurrency or latency, with 30 % duplicates', async () => {
  const datasets: string[] = [];
  for (const [batchSize, latencySeed] of [
    [1, 1],
    [8, 2],
    [64, 3],
  ] as const) {
    const latency = { distribution: 'lognormal', mean_ms: 4, sigma: 1, seed: latencySeed } as const;
    const store = await runToEnd(
      { seed: 5, duplicate_rate: 0.3, latency },
      { totalSamples: 12, batchSize, maxInFlight: 64 },
    );
    datasets.push(withoutSeqs(await datasetOf(store)));
  }
  expect(datasets[1]).toBe(datasets[0]);
  expect(datasets[2]).toBe(datasets[0]);
});

test('I1: whenever a run is cut off, no journalled answer is paid for again and the rest is the same', async () => {
  const undisturbed = await runToEnd({ seed: 9, duplicate_rate: 0.2 }, { totalSamples: 8 });
  rehearsal = await startRehearsal({
    seed: 9,
    duplicate_rate: 0.2,
    latency: { mean_ms: 5, distribution: 'lognormal' },
  });
  const store = new MemoryStore();
  const { journal } = store;
  let cuts = 0;
  for (let attempt = 0; ; attempt += 1) {
    expect(attempt).toBeLessThan(40);
    const world = await startWorld({
      store,
      url: rehearsal.url,
      totalSamples: 8,
      batchSize: [1, 8, 32][attempt % 3] as number,
    });
    const cut = new Promise<'cut'>((resolve) => setTimeout(() => resolve('cut'), 60 + attempt * 13));
    const end = await Promise.race([world.end, cut]);
    await world.close();
    if (end !== 'cut') {
      expect(end).toEqual({ type: 'completed' });
      break;
    }
    cuts += 1;
  }
  expect(cuts).toBeGreaterThan(2);
  expect(withoutSeqs(await datasetOf(store))).toBe(withoutSeqs(await datasetOf(undisturbed)));

  let journalled = 0;
  for (const { id } of await journal.list('run/R/')) {
    journalled += (await journal.read(id)).filter(({ event }) =>
      ['ModelAnswered', 'LateAnswerKept'].includes((event as { type: string }).type),
    ).length;
  }
  const arrivals = new Map<string, number>();
  for (const entry of rehearsal.log())
    if (entry.event === 'arrival') arrivals.set(entry.key, (arrivals.get(entry.key) ?? 0) + 1);
  expect(arrivals.size).toBeGreaterThan(0);
  const repeated = [...arrivals.values()].reduce((sum, count) => sum + count - 1, 0);
  // What is asked again was in flight when the run was cut, never more.
  expect([...arrivals.values()].reduce((sum, count) => sum + count, 0) - repeated).toBeLessThanOrEqual(
    journalled,
  );
});
