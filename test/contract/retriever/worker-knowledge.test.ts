/** How a worker's node comes to the knowledge of a run. */
import { chmod, cp, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { publishIndex } from '../../../src/bootstrap/cluster/knowledge-publish.ts';
import {
  openWorkerKnowledge,
  type WorkerKnowledge,
  type WorkerKnowledgeOptions,
} from '../../../src/bootstrap/cluster/knowledge-worker.ts';
import type { IndexPlace } from '../../../src/bootstrap/cluster/run-spec.ts';
import type { Environment } from '../../../src/config/environment.ts';
import { restoreConfig } from '../../../src/config/restore.ts';
import { EndpointEmbedder } from '../../../src/retrieval/embedders/endpoint-embedder.ts';
import type { LancedbRetriever } from '../../../src/retrieval/lancedb-retriever.ts';
import { memoryBlobStore, type MemoryBlobStore } from '../../support/memory-blob-store.ts';
import { submitted } from '../../unit/bootstrap/cluster/submitted-run.ts';
import { Knowledge, MARKET } from './knowledge.ts';
import { embeddingService } from './services.ts';

const CLEAN_UP: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const clean of CLEAN_UP.splice(0).toReversed()) await clean();
});

const QUERIES = ['when does the market open', 'prix des pêches', '市場'];

interface Setting {
  readonly knowledge: Knowledge;
  readonly here: LancedbRetriever;
  readonly blobs: MemoryBlobStore;
  readonly options: (
    place: (folder: string, name: string) => IndexPlace,
    more?: { readonly yaml?: string; readonly from?: Environment; readonly to?: Environment },
  ) => Promise<WorkerKnowledgeOptions>;
}

async function setting(embedder: EndpointEmbedder | null = null): Promise<Setting> {
  const knowledge = await Knowledge.create(MARKET);
  CLEAN_UP.push(() => knowledge[Symbol.asyncDispose]());
  const here = await knowledge.buildAndOpen(embedder);
  const blobs = memoryBlobStore();
  const { persistDir, logger, root } = knowledge;
  const { fingerprint } = here.info;
  const name = await publishIndex({ blobs, persistDir, fingerprint, logger });
  return {
    knowledge,
    here,
    blobs,
    async options(place, { yaml = '', from = {}, to = {} } = {}) {
      const { spec } = await submitted(`llm: {backend: rehearsal}\n${yaml}`, from);
      const { mode, passageCount } = here.info;
      const known = {
        fingerprint,
        mode,
        passageCount,
        embedder: here.info.embedder,
        documents: [],
        place: place(persistDir, name),
      };
      return {
        parts: { spec: { ...spec, knowledge: known }, restored: restoreConfig(spec.config, to) },
        blobs,
        cacheDir: join(root, 'cache'),
        folder: root,
        logger,
      };
    },
  };
}

async function open(options: WorkerKnowledgeOptions): Promise<WorkerKnowledge> {
  const found = await openWorkerKnowledge(options);
  if (found.type === 'elsewhere') throw new Error(found.why);
  CLEAN_UP.push(() => found.close());
  return found;
}

async function expectSame(here: LancedbRetriever, { retriever }: WorkerKnowledge): Promise<void> {
  expect(retriever.info).toEqual(here.info);
  for (const query of QUERIES) expect(await retriever.search(query, 4)).toEqual(await here.search(query, 4));
}

const ELSEWHERE = '/nowhere/knowledge_index';
const blob = (folder: string, name: string): IndexPlace => ({ type: 'blob', name, folder });

describe('the knowledge of a run', () => {
  test('is fetched by a node that does not see the folder', async () => {
    const { knowledge, here, blobs, options } = await setting();
    const found = await open(await options((_folder, name) => blob(ELSEWHERE, name)));
    await expectSame(here, found);
    expect(found.persistDir).toBe(join(knowledge.root, 'cache', 'indexes', here.info.fingerprint));
    expect(blobs.gets).toHaveLength(1);
  });

  test('is opened where it was built by a node that sees the same index there', async () => {
    const { here, blobs, options } = await setting();
    const found = await open(await options(blob));
    await expectSame(here, found);
    expect(blobs.gets).toEqual([]);
  });

  test('is fetched when another index stands there now', async () => {
    const { knowledge, here, blobs, options } = await setting();
    await knowledge.write('more.md', '# More\n\nThe night market opens in summer.');
    await knowledge.build();
    await expectSame(here, await open(await options(blob)));
    expect(blobs.gets).toHaveLength(1);
  });

  // Nobody keeps root from writing, so for root this is only a shared folder.
  test('in a shared folder is opened in place, also when the node may only read it', async () => {
    const { knowledge, here, options } = await setting();
    const shared = join(knowledge.root, 'mount');
    await cp(knowledge.persistDir, shared, { recursive: true });
    await rm(join(shared, 'readers'), { recursive: true });
    await chmod(shared, 0o555);
    CLEAN_UP.push(() => chmod(shared, 0o755));
    const found = await open(await options(() => ({ type: 'place', uri: shared })));
    await expectSame(here, found);
    expect(found.persistDir).toBe(shared);
  });

  test('in a shared folder that is not mounted here is searched for elsewhere, with the reason', async () => {
    const { knowledge, options } = await setting();
    await mkdir(join(knowledge.root, 'empty'));
    await rename(join(knowledge.root, 'empty'), join(knowledge.root, 'mount'));
    const found = await openWorkerKnowledge(
      await options(() => ({ type: 'place', uri: join(knowledge.root, 'mount') })),
    );
    expect(found).toMatchObject({ type: 'elsewhere', isExpected: false });
    expect(found).toHaveProperty('why', expect.stringContaining('tools.retrieval.index.shared: false'));
  });

  test('that nobody has published yet is searched for elsewhere, and opened later', async () => {
    const { here, blobs, options } = await setting();
    const [[name, bytes] = ['', new Uint8Array()]] = blobs.blobs;
    blobs.blobs.clear();
    const wanted = await options((_folder, own) => blob(ELSEWHERE, own));
    expect(await openWorkerKnowledge(wanted)).toMatchObject({ type: 'elsewhere', isExpected: true });
    blobs.blobs.set(name, bytes);
    await expectSame(here, await open(wanted));
  });
});

describe('an index with vectors', () => {
  const yaml = (url: string): string =>
    `tools: {retrieval: {embeddings: {backend: endpoint, model: hashed, base_url: "${url}", api_key_env: E_KEY}}}`;

  async function withVectors(): Promise<Setting & { readonly url: string }> {
    const service = await embeddingService();
    CLEAN_UP.push(async () => {
      await service[Symbol.asyncDispose]();
    });
    const baseUrl = service.url;
    const key = (): null => null;
    const embedder = await EndpointEmbedder.connect({ baseUrl, key, model: 'hashed', dimensions: null });
    CLEAN_UP.push(() => embedder.close());
    return { ...(await setting(embedder)), url: service.url };
  }

  test("is searched with the node's own key for the embeddings", async () => {
    const { here, options, url } = await withVectors();
    const more = { yaml: yaml(url), from: { E_KEY: 'submitter' }, to: { E_KEY: 'node' } };
    await expectSame(here, await open(await options((_folder, name) => blob(ELSEWHERE, name), more)));
  });

  test('is searched for elsewhere by a node that lacks the key, or has another model', async () => {
    const { blobs, options, url } = await withVectors();
    const more = { yaml: yaml(url), from: { E_KEY: 'submitter' } };
    expect(await openWorkerKnowledge(await options(blob, more))).toEqual({
      type: 'elsewhere',
      why: 'this node lacks E_KEY for the embeddings',
      isExpected: false,
    });
    expect(blobs.gets).toEqual([]);
    const none = await openWorkerKnowledge(await options(blob));
    expect(none).toHaveProperty('why', expect.stringContaining('was built with the embedding model hashed'));
  });
});
