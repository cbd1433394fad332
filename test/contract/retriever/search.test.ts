import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LancedbRetriever } from '../../../src/retrieval/lancedb-retriever.ts';
import { Knowledge, MARKET, wordDocuments } from './knowledge.ts';

describe('searching', () => {
  let knowledge: Knowledge;
  let retriever: LancedbRetriever;
  beforeAll(async () => {
    knowledge = await Knowledge.create(MARKET);
    retriever = await knowledge.buildAndOpen();
  });
  afterAll(() => knowledge[Symbol.asyncDispose]());

  it.each([
    ['when does the market open', 'Market Rules › Opening hours'],
    ['السُّوق', 'Arabic'],
    ['فواكه', 'Arabic'],
    ['peches ete', 'Marche'],
    ['市場', 'Ichiba'],
    ['herbs', 'Market Rules › Prices'],
  ])('finds the passage for %s', async (query, descriptor) => {
    expect((await retriever.search(query, 2))[0]?.descriptor).toBe(descriptor);
  });

  it('takes any text for a query', async () => {
    for (const query of [
      'C++ (a AND b) OR "x:y" *? ~ \\ ^2 [1 TO 2] {} + - && || !',
      '"',
      "'; DROP TABLE passages; --",
      '\0',
      '\ud800',
      '😀',
      '{"match":{}}',
      'market '.repeat(5_000),
    ]) {
      expect(await retriever.search(query, 4)).toBeInstanceOf(Array);
    }
    expect((await retriever.search('market" AND (opens', 1))[0]?.descriptor).toBe(
      'Market Rules › Opening hours',
    );
  });

  it('gives nothing for nothing, and no more than there is', async () => {
    expect(await retriever.search('', 5)).toEqual([]);
    expect(await retriever.search(' \n', 5)).toEqual([]);
    expect(await retriever.search('...', 5)).toEqual([]);
    expect(await retriever.search('market', 0)).toEqual([]);
    const all = await retriever.search('market opens stalls prices', 100_000);
    expect(all.length).toBeLessThanOrEqual(retriever.info.passageCount);
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
  });

  it('gives passages by id, in the order asked for, without unknown ones', async () => {
    const ids = retriever.info.documents.flatMap(({ passageIds }) => passageIds);
    expect(ids).toHaveLength(retriever.info.passageCount);
    const asked = [ids[2], 'unknown', ids[0]].filter((id) => id !== undefined);
    expect((await retriever.get(asked)).map(({ id }) => id)).toEqual([ids[2], ids[0]]);
    expect(await retriever.get([])).toEqual([]);
  });

  it('knows its documents by path, with passages in reading order', async () => {
    expect(retriever.info.documents.map(({ source }) => source)).toEqual(Object.keys(MARKET).sort());
    for (const { source, passageIds } of retriever.info.documents) {
      const passages = await retriever.get(passageIds);
      expect(passages.map(({ index }) => index)).toEqual(passages.map((_, i) => i));
      for (const passage of passages) {
        expect(passage.source).toBe(source);
        expect(MARKET[source]?.slice(passage.charStart, passage.charEnd)).toBe(passage.text);
      }
    }
  });

  it('answers from memory the second time, and the same', async () => {
    const first = await retriever.search('fruit by weight', 3);
    const { cached } = retriever.counts;
    expect(await retriever.search('fruit by weight', 3)).toEqual(first);
    expect(retriever.counts.cached).toBe(cached + 1);
  });

  it('reads passages from disk when the text is too large for memory, with the same answers', async () => {
    const fromDisk = await knowledge.open({ residentTextMax: 0 });
    for (const query of ['market', 'السوق', 'prices board'])
      expect(await fromDisk.search(query, 5)).toEqual(await retriever.search(query, 5));
    const ids = retriever.info.documents.flatMap(({ passageIds }) => passageIds).reverse();
    expect(await fromDisk.get([...ids, ...ids])).toEqual(await retriever.get([...ids, ...ids]));
  });

  it('ranks in memory as LanceDB ranks on disk', async () => {
    const documents = wordDocuments(60, 150);
    await using words = await Knowledge.create(documents);
    const inMemory = await words.buildAndOpen();
    const onDisk = await words.open({ residentTextMax: 0 });
    const queries = Object.values(documents).map((text) => text.split(' ').slice(20, 30).join(' '));
    for (const query of queries)
      expect(await inMemory.search(query, 12)).toEqual(await onDisk.search(query, 12));
  });

  it('refuses to search when closed, and when cancelled', async () => {
    const other = await knowledge.open();
    await expect(other.search('market', 1, AbortSignal.abort())).rejects.toMatchObject({ code: 'cancelled' });
    await other.close();
    await other.close();
    await expect(other.search('market', 1)).rejects.toMatchObject({ code: 'retrieval' });
  });
});

describe('order', () => {
  it('is by id among passages of equal score, at every k', async () => {
    const same = Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [`d${i}.txt`, 'equal words in every document']),
    );
    await using knowledge = await Knowledge.create(same);
    const retriever = await knowledge.buildAndOpen();
    // The descriptor is searched too, so the words of the query are those that all share.
    const all = (await retriever.search('equal words', 40)).map(({ id }) => id);
    expect(all).toHaveLength(40);
    expect(all).toEqual(all.toSorted());
    for (const k of [1, 3, 17])
      expect((await retriever.search('equal words', k)).map(({ id }) => id)).toEqual(all.slice(0, k));
  });

  it('is the same whether an index was built at once or step by step', async () => {
    const files = wordDocuments(30, 200);
    await using atOnce = await Knowledge.create(files);
    await using stepwise = await Knowledge.create({});
    const names = Object.keys(files).reverse();
    for (let start = 0; start < names.length; start += 10) {
      await stepwise.write('passing.txt', `w1 w2 w3 passing document ${start}`);
      for (const name of names.slice(start, start + 10))
        await stepwise.write(name, start === 0 ? `draft ${files[name]}` : (files[name] ?? ''));
      await stepwise.build();
    }
    for (const name of names.slice(0, 10)) await stepwise.write(name, files[name] ?? '');
    await stepwise.remove('passing.txt');
    await stepwise.build();
    const [one, other] = [await atOnce.buildAndOpen(), await stepwise.open()];
    expect(other.info).toEqual(one.info);
    for (let i = 0; i < 60; i += 1) {
      const query = `w${i.toString(36)} w${(i * 7).toString(36)} w${(i * 31).toString(36)}`;
      expect(await other.search(query, 12)).toEqual(await one.search(query, 12));
    }
  });
});
