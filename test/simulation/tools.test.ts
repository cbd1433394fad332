import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Passage } from '../../src/dialogue/passage.ts';
import { DlgforgeError } from '../../src/kernel/errors.ts';
import { silentLogger } from '../../src/kernel/logger.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import type { Retriever } from '../../src/ports/retriever.ts';
import { SerperWebSearch } from '../../src/retrieval/serper-web-search.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import { sendJson, startChatServer } from '../support/chat-server.ts';
import { type ChatBody, failing, outputOf, startRelay, toolCall } from '../support/failing.ts';
import { memoryRetriever, seaPassages } from '../support/memory-retriever.ts';
import { committedOf, expectWhole, payloadOf } from '../support/simulation.ts';
import { hurried, startWorld, type WorldOptions } from '../support/world.ts';

let rehearsal: Rehearsal;
beforeEach(async () => {
  rehearsal = await startRehearsal({ seed: 21 });
});
afterEach(() => rehearsal.close());

const isAnswer = (body: ChatBody): boolean => outputOf(body) === 'dlgforge_answer';
const rounds = (body: ChatBody): number =>
  body.messages.filter((message) => message.role === 'assistant').length;
const results = (body: ChatBody): string[] =>
  body.messages.filter((message) => message.role === 'tool').map((message) => message.content ?? '');
const calls = (...tool_calls: readonly unknown[]) => ({ tool_calls });

/** A run of two conversations whose assistant calls tools as the test says. @returns every request for an answer. */
async function runWith(instead: Parameters<typeof startRelay>[1], options: Partial<WorldOptions> = {}) {
  const relay = await startRelay(rehearsal.url, instead);
  const store = new MemoryStore();
  const world = await startWorld({ store, url: relay.url, totalSamples: 1, clock: hurried, ...options });
  const end = await world.end;
  await world.close();
  await relay.close();
  expect(end).toEqual({ type: 'completed' });
  await expectWhole(store, 1);
  const asked = relay.requests.map((seen) => seen.body as unknown as ChatBody).filter(isAnswer);
  expect(
    asked.some((body) => rounds(body) > 0),
    'tools were called',
  ).toBe(true);
  return { store, asked };
}

const askedFor: { query: string; k: number }[] = [];
const watching = (): Retriever => {
  const real = memoryRetriever(seaPassages());
  return {
    ...real,
    search: async (query, k) => {
      askedFor.push({ query, k });
      return real.search(query, k);
    },
  };
};

describe('whatever the assistant calls, it gets a result', () => {
  test('E14: a huge k, true and nonsense as k', async () => {
    askedFor.length = 0;
    const wild = ['100000', 'true', '"7"', '-3', '2.5', '0', 'null', '3'].map((k, i) =>
      toolCall('vector_db_search', `{"query":"tides book","k":${k}}`, `c${i}`),
    );
    await runWith((body) => (isAnswer(body) && rounds(body) === 0 ? calls(...wild) : null), {
      retriever: watching(),
    });
    const ks = askedFor.filter((search) => search.query === 'tides book').map((search) => search.k);
    expect(new Set(ks)).toEqual(new Set([20, 4, 3]));
  });

  test('unknown tools, arguments that do not parse, an empty query', async () => {
    const odd = [
      toolCall('launch_rocket', '{}', 'a'),
      toolCall('vector_db_search', '{"query": "tid', 'b'),
      toolCall('vector_db_search', '[1]', 'c'),
      toolCall('vector_db_search', '{"query":"  "}', 'd'),
      toolCall('web_search', '{"query":"tides"}', 'e'),
    ];
    const { asked, store } = await runWith((body) =>
      isAnswer(body) && rounds(body) === 0 ? calls(...odd) : null,
    );
    const [after] = asked.filter((body) => rounds(body) === 1);
    const said = results(after as ChatBody).map((text) => (JSON.parse(text) as { error: string }).error);
    expect(said[0]).toContain('launch_rocket');
    for (const text of said.slice(1, 4)) expect(text).toContain('query');
    expect(said[4]).toContain('web_search');
    // Servers that parse arguments in a history must be able to.
    for (const message of (after as ChatBody).messages) {
      for (const call of message.tool_calls ?? [])
        expect(() =>
          JSON.parse((call as { function: { arguments: string } }).function.arguments),
        ).not.toThrow();
    }
    for (const row of await committedOf(store))
      expect(payloadOf(row).turns[0]?.toolRounds[0]?.calls.length).toBe(5);
  });

  test('J3: missing and repeated ids get ids of their own, the same in the call and in its result', async () => {
    const twins = [
      toolCall('vector_db_search', '{"query":"tides"}', 'x'),
      toolCall('vector_db_search', '{"query":"buoys"}', 'x'),
      toolCall('vector_db_search', '{"query":"charts"}', ''),
    ];
    const { asked } = await runWith((body) =>
      isAnswer(body) && rounds(body) === 0 ? calls(...twins) : null,
    );
    for (const body of asked.filter((each) => rounds(each) === 1)) {
      const called = body.messages.flatMap((message) => message.tool_calls ?? []).map((call) => call['id']);
      const answered = body.messages
        .filter((message) => message.role === 'tool')
        .map((message) => (message as unknown as { tool_call_id: string }).tool_call_id);
      expect(new Set(called).size).toBe(3);
      expect(answered).toEqual(called);
    }
  });

  test('a model that only searches has to answer after eight rounds', async () => {
    const { asked } = await runWith((body) =>
      isAnswer(body) && (body.tools ?? []).length > 0
        ? calls(toolCall('vector_db_search', '{"query":"tides"}'))
        : null,
    );
    expect(Math.max(...asked.map(rounds))).toBe(8);
    for (const body of asked) expect((body.tools ?? []).length > 0).toBe(rounds(body) < 8);
  });

  test('D13: calls of one round run together', async () => {
    const real = memoryRetriever(seaPassages());
    let running = 0;
    let most = 0;
    const slow: Retriever = {
      ...real,
      async search(query, k): Promise<readonly Passage[]> {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setTimeout(resolve, 10));
        running -= 1;
        return real.search(query, k);
      },
    };
    const three = ['tides', 'buoys', 'charts'].map((query) =>
      toolCall('vector_db_search', JSON.stringify({ query }), query),
    );
    await runWith((body) => (isAnswer(body) && rounds(body) === 0 ? calls(...three) : null), {
      retriever: slow,
      languages: ['english', 'french'],
      batchSize: 1,
    });
    expect(most).toBeGreaterThanOrEqual(3);
  });

  test('A8: a search that throws is a result that says so, and the run goes on', async () => {
    const broken = failing(
      memoryRetriever(seaPassages()),
      'search',
      (_, [query]) => query === 'broken index',
      () => new DlgforgeError('retrieval', 'the index is being rebuilt'),
    );
    const { asked } = await runWith(
      (body) =>
        isAnswer(body) && rounds(body) === 0
          ? calls(toolCall('vector_db_search', '{"query":"broken index"}'))
          : null,
      { retriever: broken.target },
    );
    expect(broken.fired()).toBeGreaterThan(0);
    for (const body of asked.filter((each) => rounds(each) === 1))
      expect(results(body)[0]).toContain('the index is being rebuilt');
  });
});

test('A8: a web search whose service fails is a result; what was searched is noted, whatever the model says of it', async () => {
  const service = await startChatServer((_, response) =>
    sendJson(response, 500, { message: 'quota for key serper-key-1 used up' }),
  );
  const webSearch = new SerperWebSearch({
    key: () => 'serper-key-1',
    results: 5,
    timeoutMs: 1_000,
    logger: silentLogger,
    baseUrl: service.url,
  });
  const { asked, store } = await runWith(
    (body) =>
      isAnswer(body) && rounds(body) === 0 ? calls(toolCall('web_search', '{"query":"spring tides"}')) : null,
    {
      webSearch,
      settings: { webSearch: true },
    },
  );
  await webSearch.close();
  await service.close();
  expect(service.requests.length).toBeGreaterThan(0);
  for (const body of asked.filter((each) => rounds(each) === 1)) {
    expect(results(body)[0]).toContain('Web search failed: HTTP 500');
    expect(results(body)[0]).not.toContain('serper-key-1');
  }
  for (const row of await committedOf(store))
    for (const turn of payloadOf(row).turns) expect(turn.answer['did_web_search']).toBe(true);
});

test('C18: the judge is shown the passages that were offered and found, not what the model says of them', async () => {
  const relay = await startRelay(rehearsal.url, (body) =>
    isAnswer(body) && rounds(body) === 0
      ? calls(toolCall('vector_db_search', '{"query":"lighthouses page 3"}'))
      : null,
  );
  const store = new MemoryStore();
  const world = await startWorld({ store, url: relay.url, totalSamples: 1, clock: hurried });
  expect(await world.end).toEqual({ type: 'completed' });
  await world.close();
  await relay.close();
  const judged = relay.requests
    .map((seen) => seen.body as unknown as ChatBody)
    .filter((body) => outputOf(body) === 'dlgforge_verdict');
  const found = await memoryRetriever(seaPassages()).search('lighthouses page 3', 4);
  for (const body of judged) {
    const text = body.messages.map((message) => message.content).join('\n');
    for (const passage of found) expect(text).toContain(passage.text);
  }
});

test('a server without tools: the assistant searches through its messages, and its turns look like any other', async () => {
  const store = new MemoryStore();
  const toolless = await startRehearsal({ seed: 21, unsupported_tools: true });
  const world = await startWorld({ store, url: toolless.url, totalSamples: 2, clock: hurried });
  expect(await world.end).toEqual({ type: 'completed' });
  await world.close();
  await toolless.close();
  await expectWhole(store, 2);
  const turns = (await committedOf(store)).flatMap((committed) => payloadOf(committed).turns);
  expect(turns.length).toBeGreaterThan(0);
  for (const { toolRounds } of turns) {
    expect(toolRounds[0]?.calls[0]).toMatchObject({
      name: 'vector_db_search',
      result: { results: expect.any(Array) as unknown[] },
    });
  }
});
