import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/kernel/logger.ts';
import { SerperWebSearch, type SerperOptions } from '../../../src/retrieval/serper-web-search.ts';
import { serve } from '../../contract/retriever/services.ts';

const searchAt = (baseUrl: string, changes: Partial<SerperOptions> = {}) =>
  new SerperWebSearch({
    key: () => 'serper-key',
    results: 2,
    timeoutMs: 2_000,
    logger: silentLogger,
    baseUrl,
    ...changes,
  });

describe('web search', () => {
  it('posts the query with its key, and takes the first results with defaults for what is missing', async () => {
    await using service = await serve(() => ({
      organic: [
        { title: 'A', link: 'https://a', snippet: 'about a' },
        { title: '', snippet: 7 },
        { title: 'C' },
      ],
    }));
    const web = searchAt(service.url);
    const found = await web.search('market');
    expect(service.requests[0]).toMatchObject({
      path: '/v1/search',
      headers: { 'x-api-key': 'serper-key', 'content-type': 'application/json' },
      body: { q: 'market', num: 2 },
    });
    expect(found).toEqual({
      query: 'market',
      results: [
        { title: 'A', link: 'https://a', snippet: 'about a' },
        { title: 'No title', link: 'No link', snippet: 'No snippet provided.' },
      ],
      rendered: '- A (https://a): about a\n- No title (No link): No snippet provided.',
    });
    await web.close();
  });

  it.each([[{}], [{ organic: [] }], [{ organic: 'none' }]])(
    'says that there are no results: %j',
    async (body) => {
      await using service = await serve(() => body);
      const web = searchAt(service.url);
      expect(await web.search('x')).toEqual({
        query: 'x',
        results: [],
        rendered: 'No web results were returned for this query.',
      });
      await web.close();
    },
  );

  it('makes every failure a result, without the key', async () => {
    const closed = await serve(() => ({}));
    await closed[Symbol.asyncDispose]();
    await using service = await serve(
      () => ({}),
      [
        { status: 403, body: 'key serper-key is blocked' },
        { status: 200, body: 'not json' },
      ],
    );
    const web = searchAt(service.url);
    expect(await web.search('x')).toEqual({
      query: 'x',
      results: [],
      rendered: 'Web search failed: HTTP 403: key *** is blocked',
    });
    expect((await web.search('x')).rendered).toMatch(/^Web search failed: /);
    expect((await searchAt(closed.url).search('x')).rendered).toMatch(/^Web search failed: .*ECONNREFUSED/);
    expect((await searchAt(service.url, { key: () => null }).search('x')).rendered).toBe(
      'Web search failed: SERPER_API_KEY is not set.',
    );
    expect((await web.search('x', AbortSignal.abort())).rendered).toMatch(/^Web search failed: /);
    await web.close();
  });

  it('D5 gives up after its time', async () => {
    const closed = await serve(() => ({}));
    await closed[Symbol.asyncDispose]();
    await using service = await serve(() => ({}), [{ status: 200, body: '', stalls: true }]);
    const web = searchAt(service.url, { timeoutMs: 50 });
    expect((await web.search('x')).rendered).toBe('Web search failed: no answer in time');
    await web.close();
  });
});
