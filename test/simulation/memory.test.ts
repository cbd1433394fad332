import { afterEach, beforeEach, expect, test } from 'vitest';
import { legacyQuestionHash, questionKey } from '../../src/dialogue/question-key.ts';
import { datasetId } from '../../src/kernel/ids.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { committedOf, expectWhole, payloadOf, textOf } from '../support/simulation.ts';
import { hurried, startWorld } from '../support/world.ts';

let rehearsal: Rehearsal;
beforeEach(async () => {
  rehearsal = await startRehearsal({ seed: 51 });
});
afterEach(() => rehearsal.close());

async function generate(store: MemoryStore): Promise<string[]> {
  const world = await startWorld({ store, url: rehearsal.url, totalSamples: 3, clock: hurried });
  expect(await world.end).toEqual({ type: 'completed' });
  await world.close();
  await expectWhole(store, 3);
  return (await committedOf(store)).flatMap((row) =>
    payloadOf(row).turns.map((turn) => textOf(turn.question['user_message'])),
  );
}

test('C3, C6: what the dataset holds of earlier is never asked again, however many questions that are', async () => {
  const first = await generate(new MemoryStore());
  const store = new MemoryStore();
  await store.openDataset(datasetId('D'), '/nowhere');
  // The very questions that this model would ask, at the start of a memory of five thousand.
  const earlier = [...first, ...Array.from({ length: 5_000 }, (_, i) => `Something else ${i}?`)];
  await store.adopt(
    datasetId('D'),
    earlier.map((question) => ({
      key: questionKey(question),
      line: null,
      turn: 1,
      passageId: '',
      source: '',
      question,
      questionHash: legacyQuestionHash(question),
      questionMode: 'fresh',
      seedTopic: '',
      seedQuestion: '',
      seedQuestionHash: '',
    })),
  );
  const second = await generate(store);
  const known = new Set(first.map(questionKey));
  expect(second.filter((question) => known.has(questionKey(question)))).toEqual([]);
});

test('D14, G8: nothing reads the environment while a run is under way', async () => {
  // The first run makes the clients' own lookups.
  await generate(new MemoryStore());
  const store = new MemoryStore();
  const world = await startWorld({ store, url: rehearsal.url, totalSamples: 4, clock: hurried });
  const real = process.env;
  const read = new Set<string>();
  process.env = new Proxy(real, {
    get(target, name) {
      read.add(String(name));
      return Reflect.get(target, name) as string | undefined;
    },
  });
  try {
    expect(await world.end).toEqual({ type: 'completed' });
  } finally {
    process.env = real;
    await world.close();
  }
  expect([...read]).toEqual([]);
});
