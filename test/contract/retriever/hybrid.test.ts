import { describe, expect, it } from 'vitest';
import { EndpointEmbedder } from '../../../src/retrieval/embedders/endpoint-embedder.ts';
import { EndpointReranker } from '../../../src/retrieval/rerankers/endpoint-reranker.ts';
import { Knowledge, MARKET, wordDocuments } from './knowledge.ts';
import { embeddingService, rerank, type Scripted, serve } from './services.ts';

const connect = (baseUrl: string) =>
  EndpointEmbedder.connect({ baseUrl, key: () => null, model: 'hashed', dimensions: null });
const rerankerAt = (baseUrl: string) =>
  new EndpointReranker({
    baseUrl,
    key: () => null,
    model: 'rerank',
    instruction: '',
    batchSize: 16,
    maxRetries: 0,
  });

describe('hybrid search', () => {
  it('fuses words and vectors, equally whether built at once or step by step', async () => {
    await using service = await embeddingService();
    const embedder = await connect(service.url);
    const files = { ...MARKET, ...wordDocuments(12, 120) };
    await using atOnce = await Knowledge.create(files);
    await using stepwise = await Knowledge.create(MARKET);
    await stepwise.build({ embedder });
    for (const [name, content] of Object.entries(files)) await stepwise.write(name, content);
    const [one, other] = [await atOnce.buildAndOpen(embedder), await stepwise.buildAndOpen(embedder)];
    expect(one.info).toMatchObject({ mode: 'hybrid', embedder: { model: 'hashed', dimension: 64 } });
    expect(other.info).toEqual(one.info);
    for (const query of ['when does the market open', 'w1 w9 wa', 'pêches', 'no such words at all']) {
      const found = await one.search(query, 6);
      expect(found).toHaveLength(6);
      expect(await other.search(query, 6)).toEqual(found);
    }
    expect((await one.search('when does the market open', 1))[0]?.descriptor).toBe(
      'Market Rules › Opening hours',
    );
    await embedder.close();
  });

  it('finds by the vector graph what an exact scan finds', async () => {
    await using service = await embeddingService();
    const embedder = await connect(service.url);
    await using knowledge = await Knowledge.create(wordDocuments(4, 3_000));
    const exact = await knowledge.buildAndOpen(embedder);
    await knowledge.build({ embedder, rebuild: true, vectorIndexRows: 1 });
    const graph = await knowledge.open({ embedder });
    let common = 0;
    for (let i = 0; i < 10; i += 1) {
      const query = `w${i} w${i * 3} w${i + 20}`;
      const expected = new Set((await exact.search(query, 60)).map(({ id }) => id));
      common += (await graph.search(query, 60)).filter(({ id }) => expected.has(id)).length;
    }
    expect(common).toBeGreaterThan(540);
    await embedder.close();
  });

  it('says so when the embedder fails in a search', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    const refusal: Scripted = { status: 400, body: 'no more' };
    await using service = await embeddingService([null, null, refusal]);
    const embedder = await connect(service.url);
    const retriever = await knowledge.buildAndOpen(embedder);
    await expect(retriever.search('market', 1)).rejects.toMatchObject({
      code: 'retrieval',
      message: expect.stringContaining('HTTP 400: no more'),
    });
    expect(await retriever.search('market', 1)).toHaveLength(1);
    await embedder.close();
  });
});

describe('reranking', () => {
  it('orders the candidates anew, by descriptor and text', async () => {
    await using knowledge = await Knowledge.create({
      'a.txt': 'market market market market',
      'b.txt': 'the market has opening times for everybody',
      'c.txt': 'market',
    });
    await using service = await serve(rerank);
    await knowledge.build();
    const reranker = rerankerAt(service.url);
    const retriever = await knowledge.open({ reranker });
    expect((await retriever.search('market opening times', 1))[0]?.source).toBe('b.txt');
    expect(service.requests[0]?.body).toMatchObject({
      model: 'rerank',
      query: 'market opening times',
      top_n: 3,
    });
    const { documents } = service.requests[0]?.body ?? {};
    expect(documents).toEqual([
      expect.stringMatching(/^[ABC]\n/),
      expect.stringMatching(/^[ABC]\n/),
      expect.stringMatching(/^[ABC]\n/),
    ]);
    await reranker.close();
  });

  it('keeps the first-stage order when the reranker fails: one warning, every failure counted', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    await using service = await serve(() => ({ wrong: true }));
    const plain = await knowledge.buildAndOpen();
    const reranker = rerankerAt(service.url);
    const retriever = await knowledge.open({ reranker });
    for (let round = 0; round < 3; round += 1)
      expect(await retriever.search('market prices', 3)).toEqual(await plain.search('market prices', 3));
    expect(retriever.counts.rerankFailures).toBe(3);
    expect(knowledge.lines.filter(({ message }) => message.startsWith('[reranker] failed'))).toHaveLength(1);
    await reranker.close();
  });
});
