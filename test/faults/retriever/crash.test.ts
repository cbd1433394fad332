import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Knowledge, wordDocuments } from '../../contract/retriever/knowledge.ts';

const CHUNKING = { chunkSize: 200, chunkOverlap: 20 };

async function killAt(knowledge: Knowledge, phase: string, occurrence: number): Promise<void> {
  const script = join(import.meta.dirname, 'indexing-process.ts');
  const child = spawn(
    process.execPath,
    [script, knowledge.folder, knowledge.persistDir, phase, String(occurrence)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      // Node says that it strips types only in older versions; the test's own output stays clean.
      env: { ...process.env, NODE_NO_WARNINGS: '1' },
    },
  );
  const exited = once(child, 'exit');
  const reached = await Promise.race([
    once(child.stdout, 'data').then(() => true),
    exited.then(() => false),
    sleep(15_000, false, { ref: false }),
  ]);
  child.kill('SIGKILL');
  expect(await exited).toEqual([null, 'SIGKILL']);
  expect(reached, `${phase} #${occurrence} was reached`).toBe(true);
}

describe('kill -9 while indexing', () => {
  it.each([
    ['check', 1],
    ['read', 1],
    ['read', 3],
    ['index', 1],
    ['swap', 1],
  ])(
    'at %s #%i leaves the old index answering, and the next build repairs all',
    async (phase, occurrence) => {
      const files = wordDocuments(6, 24_000);
      await using knowledge = await Knowledge.create({ ...files, 'old.txt': 'the oldword document' });
      await knowledge.build(CHUNKING);
      await knowledge.remove('old.txt');
      await knowledge.write('new.txt', 'the newword document');
      await knowledge.write('doc-001.txt', `${files['doc-001.txt']} changed`);
      await killAt(knowledge, phase, occurrence);

      const survivor = await knowledge.open();
      expect(await survivor.search('oldword', 1)).toHaveLength(1);
      expect(await survivor.search('newword', 1)).toEqual([]);
      const ids = survivor.info.documents.flatMap(({ passageIds }) => passageIds);
      expect(await survivor.get(ids)).toHaveLength(survivor.info.passageCount);
      await survivor.close();

      expect(await knowledge.build(CHUNKING)).toMatchObject({
        added: 1,
        changed: 1,
        removed: 1,
        unchanged: 5,
      });
      const repaired = await knowledge.open();
      expect(await repaired.search('oldword', 1)).toEqual([]);
      expect(await repaired.search('newword', 1)).toHaveLength(1);
      expect((await readdir(knowledge.persistDir)).filter((name) => name.endsWith('.lance'))).toHaveLength(1);
    },
  );

  it('during the first build leaves no index, and the next one is whole', async () => {
    await using knowledge = await Knowledge.create(wordDocuments(4, 24_000));
    await killAt(knowledge, 'read', 2);
    await expect(knowledge.open()).rejects.toMatchObject({ code: 'retrieval' });
    expect(await knowledge.build(CHUNKING)).toMatchObject({ added: 4 });
    expect(await readdir(knowledge.persistDir)).toHaveLength(3);
  });
});
