import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Clock } from '../../../src/kernel/clock.ts';
import { EndpointEmbedder } from '../../../src/retrieval/embedders/endpoint-embedder.ts';
import { JsonEndpoint } from '../../../src/retrieval/json-endpoint.ts';
import { EndpointReranker } from '../../../src/retrieval/rerankers/endpoint-reranker.ts';
import { embed, embeddingService, rerank, type Scripted, serve } from '../../contract/retriever/services.ts';

/** Time passes at once; what was waited for is kept. */
function quickClock(): Clock & { readonly waits: number[] } {
  const waits: number[] = [];
  return {
    waits,
    now: () => Date.parse('2026-01-01T00:00:00Z'),
    schedule(delayMs, callback) {
      waits.push(delayMs);
      const immediate = setImmediate(callback);
      return () => clearImmediate(immediate);
    },
  };
}

const answer = z.object({ ok: z.boolean() });
const endpoint = (baseUrl: string, clock: Clock) =>
  new JsonEndpoint({ baseUrl, key: () => 'sk-secret', section: 'tools.retrieval.embeddings', clock });

describe('asking an endpoint', () => {
  it('tries again what may succeed later, as long as it is told to wait', async () => {
    const script: Scripted[] = [
      { status: 429, headers: { 'retry-after': '75' }, body: '{}' },
      { status: 503, headers: { 'retry-after': 'Thu, 01 Jan 2026 00:00:03 GMT' }, body: 'busy' },
      { status: 500, body: 'oops' },
      { status: 200, body: 'not json' },
    ];
    await using service = await serve(() => ({ ok: true }), script);
    const clock = quickClock();
    expect(await endpoint(service.url, clock).post('/x', { a: 1 }, answer)).toEqual({ ok: true });
    expect(clock.waits.slice(0, 2)).toEqual([75_000, 3_000]);
    expect(service.requests).toHaveLength(5);
    expect(service.requests[0]?.headers.authorization).toBe('Bearer sk-secret');
  });

  it('gives up after a bounded number of tries, and at once on what cannot succeed', async () => {
    await using failing = await serve(
      () => ({}),
      Array.from({ length: 50 }, () => ({ status: 500, body: 'oops' })),
    );
    await expect(endpoint(failing.url, quickClock()).post('/x', {}, answer)).rejects.toMatchObject({
      code: 'retrieval',
      retryable: true,
      message: expect.stringMatching(/after 6 tries: HTTP 500: oops.*tools\.retrieval\.embeddings/),
    });
    expect(failing.requests).toHaveLength(6);
    await using refusing = await serve(() => ({}), [{ status: 401, body: 'bad key sk-secret' }]);
    await expect(endpoint(refusing.url, quickClock()).post('/x', {}, answer)).rejects.toMatchObject({
      message: expect.stringContaining('HTTP 401: bad key ***'),
    });
    await using other = await serve(() => ({ ok: 'maybe' }));
    await expect(endpoint(other.url, quickClock()).post('/x', {}, answer)).rejects.toMatchObject({
      message: expect.stringContaining('another form'),
    });
    expect(other.requests).toHaveLength(1);
  });

  it('does not wait longer than ten minutes, whatever the server says', async () => {
    await using service = await serve(
      () => ({ ok: true }),
      [{ status: 429, headers: { 'retry-after': '86400' }, body: 'tomorrow' }],
    );
    await expect(endpoint(service.url, quickClock()).post('/x', {}, answer)).rejects.toMatchObject({
      message: expect.stringContaining('tomorrow'),
    });
  });

  it('stops when cancelled', async () => {
    await using service = await serve(() => ({ ok: true }));
    await expect(
      endpoint(service.url, quickClock()).post('/x', {}, answer, AbortSignal.abort()),
    ).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('embeddings of an endpoint', () => {
  const options = { key: () => null, model: 'hashed', dimensions: null, maxRetries: 0 };

  it('come in order, of unit length, in batches', async () => {
    await using service = await embeddingService();
    const embedder = await EndpointEmbedder.connect({ ...options, baseUrl: service.url });
    const texts = Array.from({ length: 150 }, (_, i) => `text number${i}`);
    const vectors = await embedder.embed(texts, 'passage');
    expect(vectors).toHaveLength(150);
    expect(vectors[149]).toEqual((await embedder.embed(['text number149'], 'query'))[0]);
    for (const vector of vectors) expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    expect(service.requests.map(({ body }) => (body['input'] as string[]).length)).toEqual([
      1, 64, 64, 22, 1,
    ]);
    expect(embedder.identity).toMatchObject({ model: 'hashed', dimension: 64 });
    await embedder.close();
  });

  it('are put in order by their index', async () => {
    await using service = await serve((request) => ({
      data: (embed(request) as { data: unknown[] }).data.toReversed(),
    }));
    const embedder = await EndpointEmbedder.connect({ ...options, baseUrl: service.url });
    const [first, second] = await embedder.embed(['alpha', 'beta'], 'query');
    expect(first).toEqual((await embedder.embed(['alpha'], 'query'))[0]);
    expect(second).not.toEqual(first);
    await embedder.close();
  });

  it('are refused when some are missing, or without direction', async () => {
    await using service = await serve(() => ({ data: [{ index: 0, embedding: [3, 4] }] }));
    const embedder = await EndpointEmbedder.connect({ ...options, baseUrl: service.url });
    await expect(embedder.embed(['a', 'b'], 'query')).rejects.toMatchObject({
      code: 'retrieval',
      message: expect.stringContaining('1 vectors for 2 texts'),
    });
    await embedder.close();
    await using zero = await serve(() => ({ data: [{ index: 0, embedding: [0, 0] }] }));
    await expect(EndpointEmbedder.connect({ ...options, baseUrl: zero.url })).rejects.toMatchObject({
      code: 'retrieval',
    });
  });
});

describe('a rerank endpoint', () => {
  it('scores each document, in batches, and passes the instruction to models that take one', async () => {
    await using service = await serve(rerank);
    const reranker = new EndpointReranker({
      baseUrl: service.url,
      key: () => null,
      model: 'Qwen/Qwen3-Reranker-4B',
      instruction: 'Prefer facts.',
      batchSize: 2,
    });
    expect(await reranker.rank('a b', ['x', 'a', 'a b'])).toEqual([0, 1, 2]);
    expect(service.requests.map(({ path, body }) => [path, body['top_n'], body['instruction']])).toEqual([
      ['/v1/rerank', 2, 'Prefer facts.'],
      ['/v1/rerank', 1, 'Prefer facts.'],
    ]);
    await reranker.close();
  });

  it('is refused when it leaves a document out', async () => {
    await using service = await serve(() => ({ results: [{ index: 0, relevance_score: 1 }] }));
    const reranker = new EndpointReranker({
      baseUrl: service.url,
      key: () => null,
      model: 'm',
      instruction: '',
      batchSize: 8,
    });
    await expect(reranker.rank('q', ['a', 'b'])).rejects.toMatchObject({
      code: 'retrieval',
      message: expect.stringContaining('1 of 2'),
    });
    await reranker.close();
  });
});
