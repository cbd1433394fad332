/**
 * A process that builds an index and stops for good at one moment of its progress, so that the test
 * can kill it there: `node indexing-process.ts <knowledge> <index> <phase> <occurrence>`.
 */
import { silentLogger } from '../../../src/kernel/logger.ts';
import { buildIndex } from '../../../src/retrieval/index-builder.ts';

const [knowledgeDir = '', persistDir = '', phase = '', occurrence = '1'] = process.argv.slice(2);
let seen = 0;

await buildIndex(
  {
    knowledgeDir,
    persistDir,
    chunkSize: 200,
    chunkOverlap: 20,
    rebuild: false,
    skipIfUnchanged: true,
    embedder: null,
    logger: silentLogger,
  },
  (progress) => {
    if (progress.phase !== phase || ++seen !== Number(occurrence)) return;
    process.stdout.write('here\n');
    // Holds the process exactly here: nothing of it runs on until it is killed.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
);
