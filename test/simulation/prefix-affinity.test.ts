/**
 * What prefix caches serve of real conversations: whole runs of six turns each over replicas that account for
 * prompts as a server with automatic prefix caching does. Prompts, router and client are the real ones; tokens
 * are counted as the servers report them in `usage.prompt_tokens_details.cached_tokens`.
 */
import { afterEach, expect, test } from 'vitest';
import type { Strategy } from '../../src/actors/endpoint-router/choose.ts';
import type { Passage } from '../../src/dialogue/passage.ts';
import type { DialogueSettings } from '../../src/dialogue/settings.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { seaPassages } from '../support/memory-retriever.ts';
import { startWorld } from '../support/world.ts';

const CONVERSATIONS = 24;
const OPEN = 12;
const TURNS = { min: 6, max: 6, distribution: 'uniform', mean: null } as const;

const servers: Rehearsal[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

interface Runs {
  readonly strategy: Strategy;
  readonly replicas: number;
  readonly passages: readonly Passage[];
  readonly settings?: Partial<DialogueSettings>;
}

interface Cached {
  readonly share: number;
  readonly requests: readonly number[];
}

async function cachedBy({ strategy, replicas, passages, settings }: Runs): Promise<Cached> {
  const started = await Promise.all(Array.from({ length: replicas }, () => startRehearsal({ seed: 3 })));
  servers.push(...started);
  const [url = '', ...moreUrls] = started.map((server) => server.url);
  const world = await startWorld({
    store: new MemoryStore(),
    url,
    moreUrls,
    strategy,
    passages,
    languages: ['english'],
    totalSamples: CONVERSATIONS,
    batchSize: OPEN,
    settings: { turns: TURNS, ...settings },
  });
  expect(await world.end).toEqual({ type: 'completed' });
  const { promptTokens, cachedTokens } = world.calls.counted();
  await world.close();
  const stats = started.map((server) => server.stats());
  // The servers' own books say the same.
  expect(stats.reduce((sum, each) => sum + each.cached_tokens, 0)).toBe(cachedTokens);
  return { share: cachedTokens / promptTokens, requests: stats.map((each) => each.requests) };
}

const print = (what: string, { share, requests }: Cached): boolean =>
  process.stdout.write(
    `${what}: ${(100 * share).toFixed(1)} % of the prompt tokens from cache (requests ${requests.join(', ')})\n`,
  );

test('prefix_affinity serves at least 70 % of the prompt tokens of six-turn conversations from cache', async () => {
  const runs = { replicas: 2, passages: seaPassages(), settings: { judge: null } };
  const affinity = await cachedBy({ ...runs, strategy: 'prefix_affinity' });
  const roundRobin = await cachedBy({ ...runs, strategy: 'round_robin' });
  print('prefix_affinity', affinity);
  print('round_robin', roundRobin);
  expect(affinity.share).toBeGreaterThanOrEqual(0.7);
  expect(affinity.share).toBeGreaterThan(roundRobin.share + 0.02);
  // Both replicas worked.
  expect(Math.min(...affinity.requests)).toBeGreaterThan(0.25 * Math.max(...affinity.requests));
});

/** `tools.retrieval.chunking.chunk_size` by default. */
const PASSAGE_CHARS = 750;

const longPassages = (): Passage[] =>
  seaPassages().map((passage) => {
    const text = Array.from({ length: 6 }, (_, part) =>
      passage.text.replaceAll(' the ', ` the ${part + 1}. `),
    )
      .join(' ')
      .slice(0, PASSAGE_CHARS);
    return { ...passage, text, charEnd: passage.charStart + text.length };
  });

/** Passages, search results and evidence are new text in every turn: no cache can have them. */
test('with long passages and a judge it serves what one replica alone, which sees everything, would', async () => {
  const runs = { passages: longPassages() };
  const alone = await cachedBy({ ...runs, strategy: 'round_robin', replicas: 1 });
  const affinity = await cachedBy({ ...runs, strategy: 'prefix_affinity', replicas: 2 });
  const roundRobin = await cachedBy({ ...runs, strategy: 'round_robin', replicas: 2 });
  print('long passages, one replica', alone);
  print('long passages, prefix_affinity', affinity);
  print('long passages, round_robin', roundRobin);
  expect(affinity.share).toBeGreaterThan(alone.share - 0.02);
  expect(affinity.share).toBeGreaterThan(roundRobin.share + 0.02);
});
