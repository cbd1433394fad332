/** An index in an object store: the real client of LanceDB against a server that speaks S3. */
import { afterEach, describe, expect, test } from 'vitest';
import { openWorkerKnowledge } from '../../../src/bootstrap/cluster/knowledge-worker.ts';
import { storageOptionsOf } from '../../../src/config/object-store.ts';
import { restoreConfig } from '../../../src/config/restore.ts';
import { shareIndex } from '../../../src/retrieval/shared-index.ts';
import { memoryBlobStore } from '../../support/memory-blob-store.ts';
import { startS3 } from '../../support/s3-server.ts';
import { submitted } from '../../unit/bootstrap/cluster/submitted-run.ts';
import { Knowledge, MARKET, wordDocuments } from './knowledge.ts';

const CLEAN_UP: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const clean of CLEAN_UP.splice(0).toReversed()) await clean();
});

describe('an index in an object store', () => {
  test('is copied there once, and opened in place by a node with its own credentials', async () => {
    await using s3 = await startS3('submitter');
    const environment = {
      AWS_ACCESS_KEY_ID: 'submitter',
      AWS_SECRET_ACCESS_KEY: 'hunter2',
      AWS_REGION: 'us-east-1',
      AWS_ENDPOINT: s3.url,
      AWS_ALLOW_HTTP: 'true',
    };
    const knowledge = await Knowledge.create({ ...MARKET, ...wordDocuments(10, 200) });
    CLEAN_UP.push(() => knowledge[Symbol.asyncDispose]());
    const here = await knowledge.buildAndOpen();
    const { fingerprint } = here.info;
    const { persistDir, logger, root } = knowledge;
    const uri = 's3://bucket/some/index';
    const place = { uri, storageOptions: storageOptionsOf(environment), fingerprint };
    await shareIndex({ ...place, persistDir, logger });
    const stored = [...s3.objects.keys()];
    await shareIndex({ ...place, persistDir, logger });
    expect([...s3.objects.keys()]).toEqual(stored);
    expect(stored.every((key) => key.startsWith('some/index/'))).toBe(true);

    const { spec } = await submitted('llm: {backend: rehearsal}', environment);
    expect(JSON.stringify(spec)).not.toContain('hunter2');
    const { documents: _, ...info } = here.info;
    const known = { ...info, embedder: null, documents: [], place: { type: 'place' as const, uri } };
    const openWith = (own: Readonly<Record<string, string>>) =>
      openWorkerKnowledge({
        parts: { spec: { ...spec, knowledge: known }, restored: restoreConfig(spec.config, own) },
        blobs: memoryBlobStore(),
        cacheDir: root,
        folder: root,
        logger,
      });
    const found = await openWith(environment);
    if (found.type === 'elsewhere') throw new Error(found.why);
    CLEAN_UP.push(() => found.close());
    expect(found.persistDir).toBeNull();
    expect(found.retriever.info).toEqual(here.info);
    for (const query of ['when does the market open', 'w1 w2 w3'])
      expect(await found.retriever.search(query, 5)).toEqual(await here.search(query, 5));
    expect(s3.strangers).toBe(0);

    const stranger = await openWith({ ...environment, AWS_ACCESS_KEY_ID: 'stranger' });
    expect(stranger).toMatchObject({ type: 'elsewhere', isExpected: false });
    expect(stranger).toHaveProperty('why', expect.stringContaining("this node's credentials"));
    expect(JSON.stringify(stranger)).not.toContain('hunter2');
    expect(s3.strangers).toBeGreaterThan(0);
  });
});
