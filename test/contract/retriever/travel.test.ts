/** An index that goes from the node that built it to others. */
import { cp, mkdir, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { fetchIndex } from '../../../src/bootstrap/cluster/knowledge-cache.ts';
import { indexBlob, keepPublished, publishIndex } from '../../../src/bootstrap/cluster/knowledge-publish.ts';
import { EndpointEmbedder } from '../../../src/retrieval/embedders/endpoint-embedder.ts';
import { openIndex } from '../../../src/retrieval/lancedb-retriever.ts';
import { openShared, shareIndex } from '../../../src/retrieval/shared-index.ts';
import { memoryBlobStore, type MemoryBlobStore } from '../../support/memory-blob-store.ts';
import { Knowledge, MARKET, wordDocuments } from './knowledge.ts';
import { embeddingService } from './services.ts';

const CLEAN_UP: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const clean of CLEAN_UP.splice(0).toReversed()) await clean();
});

interface Published {
  readonly knowledge: Knowledge;
  readonly blobs: MemoryBlobStore;
  readonly fingerprint: string;
  readonly name: string;
  readonly fetch: (cacheDir?: string) => Promise<string | null>;
}

async function published(files: Readonly<Record<string, string>> = MARKET): Promise<Published> {
  const knowledge = await Knowledge.create(files);
  CLEAN_UP.push(() => knowledge[Symbol.asyncDispose]());
  const { info } = await knowledge.buildAndOpen();
  const blobs = memoryBlobStore();
  const { fingerprint } = info;
  const { persistDir, logger } = knowledge;
  const name = await publishIndex({ blobs, persistDir, fingerprint, logger });
  const fetch = (cacheDir = join(knowledge.root, 'cache')): Promise<string | null> =>
    fetchIndex({ blobs, name, fingerprint, cacheDir, logger });
  return { knowledge, blobs, fingerprint, name, fetch };
}

const opened = async ({ logger }: Knowledge, persistDir: string) => {
  const retriever = await openIndex({ persistDir, embedder: null, reranker: null, logger });
  CLEAN_UP.push(() => retriever.close());
  return retriever;
};

describe('an index that was published', () => {
  test('I5: answers on the node that fetched it as on the one that built it', async () => {
    const { knowledge, fetch } = await published({ ...MARKET, ...wordDocuments(20, 120) });
    const here = await knowledge.open();
    const there = await opened(knowledge, (await fetch()) ?? '');
    expect(there.info).toEqual(here.info);
    for (const query of ['when does the market open', 'prix des pêches', 'w1 w2 w3', '市場'])
      expect(await there.search(query, 6)).toEqual(await here.search(query, 6));
  });

  test('is fetched once by a machine, however many processes ask', async () => {
    const { knowledge, blobs, fetch } = await published();
    const folders = await Promise.all(Array.from({ length: 5 }, () => fetch()));
    expect(new Set(folders).size).toBe(1);
    expect(await fetch()).toBe(folders[0]);
    expect(blobs.gets).toHaveLength(1);
    expect(await readdir(join(knowledge.root, 'cache'))).toEqual([(folders[0] ?? '').split('/').at(-1)]);
  });

  test('is published once, and leaves nothing in the folder', async () => {
    const { knowledge, blobs, fingerprint, name } = await published();
    const { persistDir, logger } = knowledge;
    await Promise.all([1, 2, 3].map(() => publishIndex({ blobs, persistDir, fingerprint, logger })));
    expect(blobs.puts).toEqual([name]);
    expect((await readdir(persistDir)).filter((entry) => /publish|lock/.test(entry))).toEqual([]);
  });

  test('has only the files of its own generation', async () => {
    const { knowledge, blobs } = await published();
    await knowledge.write('more.md', '# More\n\nThe night market opens in summer.');
    await knowledge.build();
    const { fingerprint } = (await knowledge.open()).info;
    const { persistDir, logger } = knowledge;
    const name = await publishIndex({ blobs, persistDir, fingerprint, logger });
    const text = gunzipSync(blobs.blobs.get(name) ?? Buffer.alloc(0)).toString('latin1');
    const tables = new Set(
      [...text.matchAll(/"path":"(passages-[0-9a-f]+)\.lance\//g)].map(([, table]) => table),
    );
    expect([...tables]).toEqual([await knowledge.liveTable()]);
  });

  test('that was replaced by another meanwhile is not published under its name', async () => {
    const { knowledge, fingerprint } = await published();
    await knowledge.write('more.md', '# More\n\nThe night market opens in summer.');
    await knowledge.build();
    const { persistDir, logger } = knowledge;
    const blobs = memoryBlobStore();
    await expect(publishIndex({ blobs, persistDir, fingerprint, logger })).rejects.toThrow(
      /not the one that the run uses any more/,
    );
    expect(blobs.puts).toEqual([]);
  });

  test('is published again when the blob store has lost it', async () => {
    const { knowledge, blobs, fingerprint, name } = await published();
    const { persistDir, logger } = knowledge;
    blobs.blobs.clear();
    const stop = keepPublished({ blobs, persistDir, fingerprint, logger }, 20);
    CLEAN_UP.push(async () => stop());
    await expect.poll(() => blobs.has(name), { timeout: 5_000 }).toBe(true);
  });

  test('and lost is null, not an error', async () => {
    const { blobs, fetch } = await published();
    blobs.blobs.clear();
    expect(await fetch()).toBeNull();
  });
});

describe('I10: an archive that is not what it should be', () => {
  const line = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value)}\n`);

  /** Replaces the paths of the table's files in a sound archive. */
  async function renamed(to: (path: string) => string): Promise<Published> {
    const run = await published();
    const raw = gunzipSync(run.blobs.blobs.get(run.name) ?? Buffer.alloc(0));
    const path = /\{"path":"(passages-[^"]+)","size":\d+\}\n/.exec(raw.toString('latin1'));
    const old = path?.[1] ?? '';
    const [before, after] = [
      raw.subarray(0, path?.index),
      raw.subarray((path?.index ?? 0) + (path?.[0].length ?? 0)),
    ];
    const head = path?.[0].replace(JSON.stringify(old), JSON.stringify(to(old))) ?? '';
    run.blobs.blobs.set(run.name, gzipSync(Buffer.concat([before, Buffer.from(head), after])));
    return run;
  }

  test.each([
    ['above the folder', () => '../../evil'],
    ['absolute', () => '/tmp/evil'],
    ['in another table', () => 'passages-ff.lance/data/x'],
    ['the manifest again', () => 'manifest.json'],
    ['above the folder, from inside', (path: string) => `${path.split('/')[0]}/../evil`],
    ['with a NUL', (path: string) => `${path}\0`],
    ['with a backslash', (path: string) => `${path.split('/')[0]}/..\\evil`],
    ['empty', () => ''],
  ])('has a path %s: refused, and nothing is left', async (_what, to) => {
    const { knowledge, fetch } = await renamed(to);
    await expect(fetch()).rejects.toThrow(/published cannot be used: it holds a file/);
    expect(await readdir(join(knowledge.root, 'cache'))).toEqual([]);
    expect(await readdir(knowledge.root)).toEqual(
      expect.not.arrayContaining([expect.stringContaining('evil')]),
    );
  });

  test('is damaged anywhere: refused', async () => {
    const run = await published();
    const sound = run.blobs.blobs.get(run.name) ?? new Uint8Array();
    await fc.assert(
      fc.asyncProperty(fc.nat(sound.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const damaged = Uint8Array.from(sound);
        // The first ten bytes are the header of gzip; some of them mean nothing.
        const position = Math.max(at, 10);
        damaged[position] = ((damaged[position] ?? 0) + by) % 256;
        run.blobs.blobs.set(run.name, damaged);
        await expect(run.fetch()).rejects.toThrow(/cannot be used/);
      }),
      { numRuns: 25 },
    );
    run.blobs.blobs.set(run.name, sound.slice(0, sound.length / 2));
    await expect(run.fetch()).rejects.toThrow(/cannot be used/);
    run.blobs.blobs.set(run.name, sound);
    expect(await run.fetch()).not.toBeNull();
  });

  test('is another index, or longer than allowed: refused', async () => {
    const { knowledge, blobs, name, fingerprint } = await published();
    const cacheDir = join(knowledge.root, 'cache');
    const { logger } = knowledge;
    const other = 'a'.repeat(64);
    await expect(fetchIndex({ blobs, name, fingerprint: other, cacheDir, logger })).rejects.toThrow(
      /was asked for/,
    );
    await expect(fetchIndex({ blobs, name, fingerprint, cacheDir, logger, bytesMax: 1_000 })).rejects.toThrow(
      /bytes long, and 1000 are allowed/,
    );
    const endless = gzipSync(
      Buffer.concat([line({ format: 1, files: 1, bytes: 10 }), Buffer.alloc(100_000, 'x')]),
    );
    blobs.blobs.set(name, endless);
    await expect(fetchIndex({ blobs, name, fingerprint, cacheDir, logger })).rejects.toThrow(/too long/);
  });

  test('holds other passages than its fingerprint says: refused', async () => {
    const run = await published();
    const raw = gunzipSync(run.blobs.blobs.get(run.name) ?? Buffer.alloc(0)).toString('latin1');
    const lie = 'b'.repeat(64);
    const forged = raw.replace(run.fingerprint, lie);
    expect(forged).not.toBe(raw);
    const { logger, root } = run.knowledge;
    // With its digest corrected, as somebody would who wants to be believed.
    const { createHash } = await import('node:crypto');
    const start = forged.indexOf('\n', forged.indexOf('"path":"manifest.json"')) + 1;
    const size = Number(/"path":"manifest.json","size":(\d+)/.exec(forged)?.[1]);
    const digest = createHash('sha256')
      .update(Buffer.from(forged.slice(start, start + size), 'latin1'))
      .digest();
    const archive = Buffer.concat([
      Buffer.from(forged.slice(0, start + size), 'latin1'),
      digest,
      Buffer.from(forged.slice(start + size + 32), 'latin1'),
    ]);
    run.blobs.blobs.set(indexBlob(lie), gzipSync(archive));
    const fetching = fetchIndex({
      blobs: run.blobs,
      name: indexBlob(lie),
      fingerprint: lie,
      cacheDir: join(root, 'cache'),
      logger,
    });
    await expect(fetching).rejects.toThrow(/does not hold what its manifest says/);
  });

  test('a link in the table is not packed', async () => {
    const run = await published();
    const { knowledge, fingerprint } = run;
    const table = join(knowledge.persistDir, `${await knowledge.liveTable()}.lance`);
    await writeFile(join(knowledge.root, 'secret.txt'), 'not for others');
    await symlink(join(knowledge.root, 'secret.txt'), join(table, 'data', 'link'));
    const blobs = memoryBlobStore();
    const { persistDir, logger } = knowledge;
    await publishIndex({ blobs, persistDir, fingerprint, logger });
    const packed = gunzipSync(blobs.blobs.get(run.name) ?? Buffer.alloc(0)).toString('latin1');
    expect(packed).not.toContain('not for others');
  });
});

describe('I9: the cache', () => {
  test('keeps what was used last, and what is open', async () => {
    const run = await published();
    const { knowledge, blobs, name, fingerprint } = run;
    const cacheDir = join(knowledge.root, 'cache');
    await mkdir(cacheDir);
    const old = async (letter: string, minutes: number): Promise<string> => {
      const folder = join(cacheDir, letter.repeat(64));
      await cp(knowledge.persistDir, folder, {
        recursive: true,
        filter: (path) => !path.includes('readers'),
      });
      const at = new Date(Date.now() - minutes * 60_000);
      await utimes(folder, at, at);
      return folder;
    };
    const open = await old('c', 300);
    const retriever = await opened(knowledge, open);
    await utimes(open, new Date(0), new Date(0));
    await old('d', 200);
    await old('e', 100);
    await old('f', 1);
    await writeFile(join(cacheDir, 'incoming-of-a-dead-process'), 'half');
    const { logger } = knowledge;
    const folder = await fetchIndex({ blobs, name, fingerprint, cacheDir, logger, indexesMax: 3 });
    expect((await readdir(cacheDir)).map((entry) => entry.slice(0, 1)).sort()).toEqual(
      ['c', 'f', fingerprint.slice(0, 1)].sort(),
    );
    expect(folder).toBe(join(cacheDir, fingerprint));
    expect(await retriever.search('market', 1)).toHaveLength(1);
  });
});

describe('an index at an address that every node sees', () => {
  test('I5: is opened in place and answers like the folder that it was copied from, with vectors too', async () => {
    const knowledge = await Knowledge.create({ ...MARKET, ...wordDocuments(8, 100) });
    CLEAN_UP.push(() => knowledge[Symbol.asyncDispose]());
    await using service = await embeddingService();
    const embedder = await EndpointEmbedder.connect({
      baseUrl: service.url,
      key: () => null,
      model: 'hashed',
      dimensions: null,
    });
    CLEAN_UP.push(() => embedder.close());
    const here = await knowledge.buildAndOpen(embedder);
    const { fingerprint } = here.info;
    const { persistDir, logger } = knowledge;
    // LanceDB's own code for a folder stands in for an object store; dlgforge does the same for both.
    const place = { uri: join(knowledge.root, 'bucket'), storageOptions: {}, fingerprint };
    await expect(openShared({ ...place, embedder, reranker: null, logger })).rejects.toThrow(
      /There is no index/,
    );
    await Promise.all([1, 2].map(() => shareIndex({ ...place, persistDir, logger })));
    const there = await openShared({ ...place, embedder, reranker: null, logger });
    CLEAN_UP.push(() => there.close());
    expect(there.info).toEqual(here.info);
    for (const query of ['when does the market open', 'prix des pêches', 'w1 w2 w3'])
      expect(await there.search(query, 6)).toEqual(await here.search(query, 6));
    const tables = await readdir(place.uri);
    expect(tables.filter((name) => name.startsWith('passages-'))).toHaveLength(1);
  });
});

test('the archive of an index is made of its files as they are', async () => {
  const { knowledge, fetch } = await published();
  const folder = (await fetch()) ?? '';
  const table = `${await knowledge.liveTable()}.lance`;
  const files = await readdir(join(knowledge.persistDir, table), { recursive: true, withFileTypes: true });
  for (const file of files.filter((entry) => entry.isFile())) {
    const path = join(file.parentPath, file.name);
    const copy = path.replace(knowledge.persistDir, folder);
    expect((await readFile(copy)).equals(await readFile(path)), path).toBe(true);
  }
});
