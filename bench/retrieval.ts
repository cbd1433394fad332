/**
 * Build time and query latency at 20,000 passages, full text and hybrid, beside bare LanceDB calls
 * on the same rows in the same run.
 *
 *   node bench/retrieval.ts [passages] [queries]
 *
 * Documents are words drawn from a skewed vocabulary with a fixed seed; vectors are hashed bags of
 * words, so that embedding costs next to nothing and nothing is downloaded.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, Index, MatchQuery, rerankers, type Table } from '@lancedb/lancedb';
import type { Passage } from '../src/dialogue/passage.ts';
import { silentLogger } from '../src/kernel/logger.ts';
import { below, uniform } from '../src/kernel/random.ts';
import type { Embedder } from '../src/ports/retriever.ts';
import { passageTerms, queryTerms } from '../src/retrieval/analysis.ts';
import { buildIndex } from '../src/retrieval/index-builder.ts';
import { openIndex } from '../src/retrieval/lancedb-retriever.ts';

const passageCount = Number(process.argv[2] ?? 20_000);
const queryCount = Number(process.argv[3] ?? 500);
const DIMENSION = 384;
const CHUNK = { chunkSize: 750, chunkOverlap: 150 };
const PASSAGES_PER_DOCUMENT = 50;
const K = 12;

const SYLLABLES = [
  'ka',
  'ro',
  'mi',
  'ten',
  'sul',
  'va',
  'po',
  'lin',
  'dar',
  'esh',
  'ou',
  'bri',
  'nem',
  'gat',
  'zi',
  'for',
];
const spelled = (rank: number): string =>
  [rank % 16, Math.floor(rank / 16) % 16, Math.floor(rank / 256) % 16, Math.floor(rank / 4096) % 16]
    .map((digit) => SYLLABLES[digit])
    .join('');
const word = (...key: (string | number)[]): string => spelled(Math.floor(uniform(key) ** 3 * 30_000));

function sentence(document: number, number: number): string {
  const words = Array.from({ length: 8 + below([document, number, 'length'], 10) }, (_, i) =>
    word(document, number, i),
  );
  return `${words.join(' ')}.`;
}

async function writeDocuments(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  // What a passage adds to its overlap, measured.
  const characters = PASSAGES_PER_DOCUMENT * 485;
  for (let document = 0; document * PASSAGES_PER_DOCUMENT < passageCount; document += 1) {
    const parts = [`# Topic ${word(document, 'title')}`];
    for (let length = 0, number = 0; length < characters; number += 1) {
      const next = sentence(document, number);
      length += next.length;
      parts.push(number % 6 === 0 ? `\n\n${next}` : next);
    }
    await writeFile(join(folder, `doc-${String(document).padStart(5, '0')}.md`), parts.join(' '));
  }
}

function hashedVector(text: string): Float32Array {
  const vector = new Float32Array(DIMENSION);
  for (const term of passageTerms(text)) {
    let hash = 2_166_136_261;
    for (let i = 0; i < term.length; i += 1) hash = Math.imul(hash ^ term.charCodeAt(i), 16_777_619);
    const slot = (hash >>> 1) % DIMENSION;
    vector[slot] = (vector[slot] ?? 0) + (hash & 1 ? 1 : -1);
  }
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}

const embedder: Embedder = {
  identity: { model: 'hashed', dimension: DIMENSION, version: '1' },
  embed: async (texts) => texts.map(hashedVector),
  close: async () => undefined,
};

interface Timing {
  readonly p50: number;
  readonly p99: number;
  /** Of this process, all threads, per query. */
  readonly cpuMs: number;
}

async function timed(queries: readonly string[], run: (query: string) => Promise<unknown>): Promise<Timing> {
  for (const query of queries.slice(0, 20)) await run(`${query} warm`);
  const times: number[] = [];
  const before = process.cpuUsage();
  for (const query of queries) {
    const started = performance.now();
    await run(query);
    times.push(performance.now() - started);
  }
  const cpu = process.cpuUsage(before);
  times.sort((a, b) => a - b);
  const at = (share: number): number =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), cpuMs: (cpu.user + cpu.system) / 1000 / queries.length };
}

const rows: string[][] = [];
function row(name: string, buildMs: number, { p50, p99, cpuMs }: Timing): void {
  const rss = process.memoryUsage().rss / 2 ** 20;
  rows.push([
    name,
    `${(buildMs / 1000).toFixed(2)} s`,
    `${p50.toFixed(2)} ms`,
    `${p99.toFixed(2)} ms`,
    `${cpuMs.toFixed(2)} ms`,
    `${rss.toFixed(0)} MiB`,
  ]);
}

/** What an unadorned program would do with the same passages. */
async function bareTable(folder: string, passages: readonly Passage[], hybrid: boolean): Promise<Table> {
  const connection = await connect(folder);
  const data = passages.map(({ id, text, descriptor }) => ({
    id,
    text,
    terms: passageTerms(`${descriptor}\n${text}`).join(' '),
    ...(hybrid ? { vector: Array.from(hashedVector(`${descriptor}\n${text}`)) } : {}),
  }));
  const table = await connection.createTable(hybrid ? 'hybrid' : 'words', data);
  await table.createIndex('terms', {
    config: Index.fts({
      baseTokenizer: 'whitespace',
      lowercase: false,
      stem: false,
      removeStopWords: false,
      asciiFolding: false,
      withPosition: false,
    }),
  });
  if (hybrid && passages.length >= 20_000)
    await table.createIndex('vector', {
      config: Index.hnswSq({ distanceType: 'l2', numPartitions: 1, efConstruction: 150 }),
    });
  return table;
}

async function measure(root: string, queries: readonly string[], hybrid: boolean): Promise<void> {
  const name = hybrid ? 'hybrid' : 'full text';
  const persistDir = join(root, hybrid ? 'hybrid' : 'words');
  const options = {
    knowledgeDir: join(root, 'knowledge'),
    persistDir,
    ...CHUNK,
    rebuild: false,
    skipIfUnchanged: true,
    embedder: hybrid ? embedder : null,
    logger: silentLogger,
  };
  const report = await buildIndex(options);
  const reopening = performance.now();
  await buildIndex(options);
  const retriever = await openIndex({
    persistDir,
    embedder: options.embedder,
    reranker: null,
    logger: silentLogger,
  });
  const reopenMs = performance.now() - reopening;
  row(
    `dlgforge, ${name}, ${report.passages} passages`,
    report.tookMs,
    await timed(queries, (query) => retriever.search(query, K)),
  );

  const passages = await retriever.get(retriever.info.documents.flatMap(({ passageIds }) => passageIds));
  const building = performance.now();
  const table = await bareTable(join(root, 'bare'), passages, hybrid);
  const bareMs = performance.now() - building;
  const rrf = await rerankers.RRFReranker.create(60);
  const bare = (query: string) => {
    const match = new MatchQuery(queryTerms(query).join(' '), 'terms');
    if (!hybrid)
      return table.query().fullTextSearch(match).select(['id', 'text', '_score']).limit(K).toArray();
    return table
      .query()
      .nearestTo(hashedVector(query))
      .distanceType('l2')
      .fullTextSearch(match)
      .rerank(rrf)

      .limit(K)
      .toArray();
  };
  row(`bare LanceDB, ${name}, chunks given`, bareMs, await timed(queries, bare));
  rows.push([`  unchanged: check and open again`, `${(reopenMs / 1000).toFixed(2)} s`, '', '', '', '']);
  table.close();
  await retriever.close();
}

function print(table: readonly (readonly string[])[]): void {
  const head = ['', 'build', 'p50', 'p99', 'CPU/query', 'RSS'];
  const widths = head.map((title, i) =>
    Math.max(title.length, ...table.map((cells) => cells[i]?.length ?? 0)),
  );
  for (const cells of [head, widths.map((width) => '-'.repeat(width)), ...table]) {
    process.stdout.write(
      `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(' | ')} |\n`,
    );
  }
}

const root = await mkdtemp(join(tmpdir(), 'dlgforge-bench-'));
try {
  await writeDocuments(join(root, 'knowledge'));
  const queries = Array.from({ length: queryCount }, (_, i) =>
    Array.from({ length: 8 }, (_unused, j) => word('query', i, j)).join(' '),
  );
  await measure(root, queries, false);
  await measure(root, queries, true);
  print(rows);
} finally {
  await rm(root, { recursive: true });
}
