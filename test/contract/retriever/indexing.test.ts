import { cp, mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { EndpointEmbedder } from '../../../src/retrieval/embedders/endpoint-embedder.ts';
import { buildIndex } from '../../../src/retrieval/index-builder.ts';
import { Knowledge, MARKET, wordDocuments } from './knowledge.ts';
import { embeddingService } from './services.ts';

const embedderAt = (baseUrl: string, model = 'hashed') =>
  EndpointEmbedder.connect({ baseUrl, key: () => null, model, dimensions: null });

describe('building the index', () => {
  it('adds, changes and removes files each by itself', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    expect(await knowledge.build()).toMatchObject({
      added: 4,
      changed: 0,
      removed: 0,
      unchanged: 0,
      mode: 'full_text',
    });
    await knowledge.write('new.txt', 'A new document about cheese.');
    await knowledge.write('sub/marche.txt', 'Le fromage est vendu le samedi.');
    await knowledge.remove('sub/ichiba.txt');
    expect(await knowledge.build()).toMatchObject({ added: 1, changed: 1, removed: 1, unchanged: 2 });
    const retriever = await knowledge.open();
    expect((await retriever.search('cheese', 1))[0]?.source).toBe('new.txt');
    expect((await retriever.search('fromage', 1))[0]?.source).toBe('sub/marche.txt');
    expect(await retriever.search('市場', 1)).toEqual([]);
  });

  it('F1 gives a full index when unchanged documents are rebuilt', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    const first = await knowledge.build();
    const before = await knowledge.liveTable();
    const again = await knowledge.build({ rebuild: true });
    expect(again).toMatchObject({ added: 4, passages: first.passages, fingerprint: first.fingerprint });
    expect(await knowledge.liveTable()).not.toBe(before);
    expect(await (await knowledge.open()).search('market', 1)).toHaveLength(1);
  });

  it('F2 forgets removed and shortened documents', async () => {
    await using knowledge = await Knowledge.create({
      'a.txt': 'alpha words stay here',
      'b.txt': `${'beta start. '.repeat(60)} omega ending`,
    });
    await knowledge.build();
    await knowledge.write('b.txt', 'beta start.');
    await knowledge.remove('a.txt');
    const report = await knowledge.build();
    const retriever = await knowledge.open();
    expect(report.passages).toBe(1);
    expect(await retriever.search('alpha omega', 5)).toEqual([]);
    expect(retriever.info.documents).toHaveLength(1);
  });

  it('F3 keeps ids and the index when the project moves', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    const first = await knowledge.build();
    const moved = join(knowledge.root, 'elsewhere');
    await mkdir(moved);
    await rename(knowledge.folder, join(moved, 'knowledge'));
    await rename(knowledge.persistDir, join(moved, 'knowledge_index'));
    const report = await buildIndex(
      knowledge.options({
        knowledgeDir: join(moved, 'knowledge'),
        persistDir: join(moved, 'knowledge_index'),
      }),
    );
    expect(report).toMatchObject({ added: 0, changed: 0, unchanged: 4, fingerprint: first.fingerprint });
    await cp(join(moved, 'knowledge'), knowledge.folder, { recursive: true });
    expect((await knowledge.build()).fingerprint).toBe(first.fingerprint);
  });

  it('F4 builds anew when the manifest is damaged or the table is gone', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    const first = await knowledge.build();
    await writeFile(join(knowledge.persistDir, 'manifest.json'), '{"table": "pass');
    expect(await knowledge.build()).toMatchObject({ added: 4, fingerprint: first.fingerprint });
    expect(knowledge.lines.some(({ message }) => message.includes('manifest is damaged'))).toBe(true);
    await rm(join(knowledge.persistDir, `${await knowledge.liveTable()}.lance`), { recursive: true });
    expect(await knowledge.build()).toMatchObject({ added: 4, fingerprint: first.fingerprint });
    expect(await (await knowledge.open()).search('market', 1)).toHaveLength(1);
  });

  it('F5 refuses an overlap that leaves nothing new', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    await expect(knowledge.build({ chunkSize: 100, chunkOverlap: 100 })).rejects.toMatchObject({
      code: 'config',
    });
    await expect(knowledge.build({ chunkSize: 0, chunkOverlap: 0 })).rejects.toMatchObject({
      code: 'config',
    });
  });

  it('F8 reports unreadable files by name, also when nothing has changed, and goes on', async () => {
    await using knowledge = await Knowledge.create({
      ...MARKET,
      'broken.pdf': '%PDF-1.4 nonsense',
      'image.txt': new Uint8Array([0, 1, 2, 3]),
    });
    for (let round = 0; round < 2; round += 1) {
      const { skipped } = await knowledge.build();
      expect(skipped.map(({ source }) => source)).toEqual(['broken.pdf', 'image.txt']);
      expect(skipped[1]?.reason).toBe('it is binary data, not text');
    }
    expect(
      knowledge.lines
        .filter(({ level }) => level === 'warn')
        .map(({ message }) => message)
        .join('\n'),
    ).toContain('skipped broken.pdf: the PDF is broken');
  });

  it('F8 refuses a folder without readable text, and keeps the index that was there', async () => {
    await using knowledge = await Knowledge.create({ 'a.md': '' });
    await expect(knowledge.build()).rejects.toMatchObject({
      code: 'knowledge',
      message: expect.stringMatching(/^No readable text found in .*a\.md: it is empty/),
    });
    await knowledge.write('a.md', 'some text');
    await knowledge.build();
    await knowledge.write('a.md', '');
    await expect(knowledge.build()).rejects.toMatchObject({ code: 'knowledge' });
    expect(await (await knowledge.open()).search('text', 1)).toHaveLength(1);
    expect((await readdir(knowledge.persistDir)).filter((name) => name.endsWith('.lance'))).toHaveLength(1);
  });

  it('F9 writes more passages than one batch holds', async () => {
    await using knowledge = await Knowledge.create(wordDocuments(6, 3_000));
    const report = await knowledge.build({ chunkSize: 30, chunkOverlap: 0 });
    expect(report.passages).toBeGreaterThan(2_000);
    expect((await knowledge.open()).info.passageCount).toBe(report.passages);
  });

  it('F10 never mixes vectors of two models: another model is another index', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    await using service = await embeddingService();
    const [first, second] = [await embedderAt(service.url, 'one'), await embedderAt(service.url, 'two')];
    const before = await knowledge.build({ embedder: first });
    const after = await knowledge.build({ embedder: second });
    expect(after).toMatchObject({ added: 4, mode: 'hybrid' });
    expect(after.fingerprint).not.toBe(before.fingerprint);
    await expect(knowledge.open({ embedder: first })).rejects.toMatchObject({
      code: 'retrieval',
      message: expect.stringContaining('two'),
    });
    await expect(knowledge.open()).rejects.toMatchObject({ code: 'retrieval' });
    expect((await knowledge.open({ embedder: second })).info.embedder).toEqual(second.identity);
    await Promise.all([first.close(), second.close()]);
  });

  it('embeds only what is new', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    await using service = await embeddingService();
    const embedder = await embedderAt(service.url);
    const texts = (): string[] => service.requests.splice(0).flatMap(({ body }) => body['input'] as string[]);
    await knowledge.build({ embedder });
    texts();
    await knowledge.build({ embedder });
    expect(texts()).toEqual([]);
    await knowledge.write(
      'market-rules.md',
      `${MARKET['market-rules.md']}\n\n## Cheese\n\nCheese is cut to order.\n`,
    );
    await knowledge.build({ embedder });
    const embedded = texts();
    expect(embedded.join('\n')).toContain('Cheese');
    expect(embedded.length).toBeLessThanOrEqual(2);
    await embedder.close();
  });

  it('A13 keeps U+2028, U+2029 and U+0085 inside passages', async () => {
    const text = 'first\u2028second\u2029third\u0085fourth';
    await using knowledge = await Knowledge.create({ 'a.txt': text, 'b.txt': 'other' });
    await knowledge.build();
    await knowledge.build();
    const retriever = await knowledge.open();
    expect((await retriever.search('fourth', 1))[0]?.text).toBe(text);
    expect(retriever.info.passageCount).toBe(2);
  });

  it('D5 leaves the event loop free while it reads and chunks', async () => {
    await using knowledge = await Knowledge.create(wordDocuments(8, 60_000));
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    await knowledge.build();
    delay.disable();
    expect(delay.max / 1e6).toBeLessThan(250);
  });
});

describe('deciding what has changed', () => {
  it('does no work when only times have changed', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    await knowledge.build();
    const table = await knowledge.liveTable();
    await utimes(join(knowledge.folder, 'market-rules.md'), new Date(), new Date());
    expect(await knowledge.build()).toMatchObject({ added: 0, changed: 0, unchanged: 4 });
    expect(await knowledge.build({ skipIfUnchanged: false })).toMatchObject({ changed: 0, unchanged: 4 });
    expect(await knowledge.liveTable()).toBe(table);
  });

  it('sees a change that left size and times alone', async () => {
    await using knowledge = await Knowledge.create({ 'a.txt': 'alpha' });
    const past = new Date(Date.now() - 3_600_000);
    await utimes(join(knowledge.folder, 'a.txt'), past, past);
    await knowledge.build();
    await knowledge.write('a.txt', 'gamma');
    await utimes(join(knowledge.folder, 'a.txt'), past, past);
    expect(await knowledge.build()).toMatchObject({ changed: 1 });
    expect(await (await knowledge.open()).search('gamma', 1)).toHaveLength(1);
  });

  it('makes another index for other chunking', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    const first = await knowledge.build();
    const smaller = await knowledge.build({ chunkSize: 100, chunkOverlap: 0 });
    expect(smaller.passages).toBeGreaterThan(first.passages);
    expect(smaller.fingerprint).not.toBe(first.fingerprint);
  });
});

describe('sharing the folder', () => {
  it('keeps the table of an open reader, and removes it afterwards', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    const reader = await knowledge.buildAndOpen();
    const old = `${await knowledge.liveTable()}.lance`;
    await knowledge.write('new.txt', 'cheese');
    await knowledge.build();
    expect(await reader.search('cheese', 1)).toEqual([]);
    expect(await reader.search('market', 1)).toHaveLength(1);
    await reader.close();
    await knowledge.write('new.txt', 'bread');
    await knowledge.build();
    const tables = (await readdir(knowledge.persistDir)).filter((name) => name.endsWith('.lance'));
    expect(tables).toHaveLength(1);
    expect(tables).not.toContain(old);
  });

  it('lets one writer at a time work, and both finish', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    const reports = await Promise.all([knowledge.build(), knowledge.build(), knowledge.build()]);
    expect(new Set(reports.map(({ fingerprint }) => fingerprint)).size).toBe(1);
    expect(reports.map(({ added }) => added).toSorted((a, b) => a - b)).toEqual([0, 0, 4]);
  });

  it('takes over the lock of a process that is gone', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    await mkdir(knowledge.persistDir);
    const own = JSON.parse(await lockOf(knowledge)) as object;
    await writeFile(join(knowledge.persistDir, 'writer.lock'), JSON.stringify({ ...own, startedAt: '1' }));
    expect(await knowledge.build()).toMatchObject({ added: 4 });
    expect(await readdir(knowledge.persistDir)).not.toContain('writer.lock');
  });

  it('stops when told, and leaves the old index', async () => {
    await using knowledge = await Knowledge.create(MARKET);
    await knowledge.build();
    await knowledge.write('new.txt', 'cheese');
    await expect(knowledge.build({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
    expect(await (await knowledge.open()).search('cheese', 1)).toEqual([]);
  });
});

/** The lock file as this process writes it, caught while a build holds it. */
async function lockOf(knowledge: Knowledge): Promise<string> {
  let content = '';
  await buildIndex(knowledge.options({ persistDir: join(knowledge.root, 'other') }), ({ phase }) => {
    if (phase === 'index') lock = readFile(join(knowledge.root, 'other', 'writer.lock'), 'utf8');
  });
  content = await lock;
  return content;
}
let lock: Promise<string> = Promise.resolve('');
