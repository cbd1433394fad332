/**
 * Serves passages of a finished index. Owns an open table, the inventory and a cache of answers;
 * never writes. The table it has open stays on disk until it is closed, also when a newer one
 * goes live.
 *
 * Above `VECTOR_INDEX_ROWS` embedded passages the nearest vectors are found by a graph and are
 * approximate: an index keeps its answers, but one that was built again may differ in the tail.
 */
import type { Passage } from '../dialogue/passage.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import { canonicalJson } from '../kernel/hash.ts';
import type { Logger } from '../kernel/logger.ts';
import type { Embedder, IndexInfo, Reranker, Retriever } from '../ports/retriever.ts';
import { queryTerms } from './analysis.ts';
import { type Manifest, readManifest } from './index-manifest.ts';
import { markReader } from './index-readers.ts';
import { Inventory, RESIDENT_TEXT_MAX } from './inventory.ts';
import { type PassageTable, PassageTables } from './passage-table.ts';
import { fused, topRows } from './ranking.ts';
import { RecentCache } from './recent-cache.ts';

export interface OpenOptions {
  readonly persistDir: string;
  /** The one that the index was built with; null for a full-text index. Closed by its owner. */
  readonly embedder: Embedder | null;
  /** Orders the first stage anew; null for none. Closed by its owner. */
  readonly reranker: Reranker | null;
  /** Passages that the reranker sees, when more than asked for. Default 12. */
  readonly rerankCandidates?: number;
  readonly logger: Logger;
  /** Indexes with more characters of text read passages from disk. Default 64 Mi. */
  readonly residentTextMax?: number;
}

/** What happened since the index was opened. */
export interface RetrievalCounts {
  readonly searches: number;
  readonly cached: number;
  /** Searches that kept the first-stage order because the reranker failed. */
  readonly rerankFailures: number;
}

const RERANK_CANDIDATES = 12;
const ANSWERS_KEPT = 1_024;
/** Each of the two lists that are fused is at least this deep: what both know a little may win. */
const FUSION_DEPTH = 50;
const OPEN_ATTEMPTS_MAX = 10;

interface Parts {
  readonly options: OpenOptions;
  readonly manifest: Manifest;
  readonly tables: PassageTables;
  readonly table: PassageTable;
  readonly inventory: Inventory;
  readonly unmark: () => Promise<void>;
}

export class LancedbRetriever implements Retriever {
  readonly info: IndexInfo;
  readonly #parts: Parts;
  readonly #answers = new RecentCache<string, readonly number[]>(ANSWERS_KEPT);
  readonly #counts = { searches: 0, cached: 0, rerankFailures: 0 };
  #closed = false;

  constructor(parts: Parts) {
    const { manifest, inventory } = parts;
    this.#parts = parts;
    this.info = {
      fingerprint: manifest.fingerprint,
      documents: inventory.documents,
      passageCount: inventory.size,
      mode: manifest.identity.embedder === null ? 'full_text' : 'hybrid',
      embedder: manifest.identity.embedder,
    };
  }

  get counts(): RetrievalCounts {
    return { ...this.#counts };
  }

  async search(query: string, k: number, signal?: AbortSignal): Promise<readonly Passage[]> {
    this.#assertOpen();
    throwIfCancelled(signal);
    const wanted = Math.min(Math.floor(k), this.#parts.inventory.size);
    if (query.trim() === '' || !(wanted > 0)) return [];
    this.#counts.searches += 1;
    const key = `${wanted}\n${query}`;
    const known = this.#answers.get(key);
    if (known !== undefined) this.#counts.cached += 1;
    const rows = known ?? (await this.#find(query, wanted, key, signal));
    return this.#parts.inventory.passages(rows);
  }

  async get(ids: readonly string[]): Promise<readonly Passage[]> {
    this.#assertOpen();
    return this.#parts.inventory.passages(this.#parts.inventory.rowsOf(ids));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#parts.table.close();
    this.#parts.tables.close();
    await this.#parts.unmark();
  }

  async #find(query: string, wanted: number, key: string, signal?: AbortSignal): Promise<readonly number[]> {
    const { options } = this.#parts;
    const depth =
      options.reranker === null ? wanted : Math.max(wanted, options.rerankCandidates ?? RERANK_CANDIDATES);
    const first = await this.#firstStage(query, Math.min(depth, this.#parts.inventory.size), signal);
    throwIfCancelled(signal);
    const order =
      options.reranker === null ? first : await this.#reranked(options.reranker, query, first, signal);
    const rows = (order ?? first).slice(0, wanted);
    // A first-stage order that stands in for a failed reranking is not remembered.
    if (order !== null) this.#answers.set(key, rows);
    return rows;
  }

  async #firstStage(query: string, depth: number, signal?: AbortSignal): Promise<number[]> {
    const { options, table, inventory, manifest } = this.#parts;
    const idOf = (row: number): string => inventory.idAt(row);
    const terms = queryTerms(query);
    const isHybrid = manifest.identity.embedder !== null && options.embedder !== null;
    const listDepth = isHybrid ? Math.min(Math.max(2 * depth, FUSION_DEPTH), inventory.size) : depth;
    const matching =
      terms.length === 0
        ? Promise.resolve([])
        : topRows(
            (limit) => (inventory.terms ?? table).matching(terms, limit),
            listDepth,
            inventory.size,
            idOf,
          );
    if (!isHybrid) return matching;
    const nearest = this.#nearest(options.embedder, query, listDepth, idOf, signal);
    return fused(await Promise.all([matching, nearest]), idOf).slice(0, depth);
  }

  async #nearest(
    embedder: Embedder | null,
    query: string,
    depth: number,
    idOf: (row: number) => string,
    signal?: AbortSignal,
  ): Promise<number[]> {
    const [vector] = (await embedder?.embed([query], 'query', signal)) ?? [];
    if (vector === undefined)
      throw new DlgforgeError(
        'retrieval',
        'The embedder gave no vector for a query. Check tools.retrieval.embeddings.',
      );
    return topRows(
      (limit) => this.#parts.table.nearest(vector, limit),
      depth,
      this.#parts.inventory.size,
      idOf,
    );
  }

  /** null when the reranker failed: said once, counted always. */
  async #reranked(
    reranker: Reranker,
    query: string,
    rows: readonly number[],
    signal?: AbortSignal,
  ): Promise<number[] | null> {
    const { inventory, options } = this.#parts;
    try {
      const passages = await inventory.passages(rows);
      const scores = await reranker.rank(
        query,
        passages.map(({ descriptor, text }) => `${descriptor}\n${text}`),
        signal,
      );
      // A stable sort: the first stage decides among equal scores.
      return rows
        .map((row, i) => ({ row, score: scores[i] ?? Number.NEGATIVE_INFINITY }))
        .sort((a, b) => b.score - a.score || 0)
        .map(({ row }) => row);
    } catch (error) {
      throwIfCancelled(signal);
      this.#counts.rerankFailures += 1;
      if (this.#counts.rerankFailures === 1) {
        options.logger.log(
          'warn',
          'retrieval',
          `[reranker] failed, keeping the first-stage order (said once, counted always): ${messageOf(error)}`,
        );
      }
      return null;
    }
  }

  #assertOpen(): void {
    if (this.#closed)
      throw new DlgforgeError(
        'retrieval',
        'The knowledge index has been closed. Open it again before searching.',
      );
  }
}

function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new DlgforgeError('cancelled', 'The search was cancelled.');
}

async function liveManifest(persistDir: string): Promise<Manifest> {
  const state = await readManifest(persistDir);
  if (state.type === 'present') return state.manifest;
  const what =
    state.type === 'missing'
      ? 'There is no knowledge index'
      : 'The manifest of the knowledge index is damaged';
  throw new DlgforgeError(
    'retrieval',
    `${what} in ${persistDir}. Build the index first; a run does so by itself.`,
  );
}

/** Marks the live table as in use, and makes sure that it was still live then: no writer drops it now. */
async function holdLive(persistDir: string): Promise<{ manifest: Manifest; unmark: () => Promise<void> }> {
  for (let attempt = 1; attempt <= OPEN_ATTEMPTS_MAX; attempt += 1) {
    const manifest = await liveManifest(persistDir);
    const unmark = await markReader(persistDir, manifest.table);
    if ((await liveManifest(persistDir)).table === manifest.table) return { manifest, unmark };
    await unmark();
  }
  throw new DlgforgeError(
    'retrieval',
    `The knowledge index in ${persistDir} keeps changing. Wait until the other process has finished indexing.`,
    { retryable: true },
  );
}

function assertSameEmbedder(manifest: Manifest, embedder: Embedder | null): void {
  const built = manifest.identity.embedder;
  if (built === null || canonicalJson(built) === canonicalJson(embedder?.identity ?? null)) return;
  throw new DlgforgeError(
    'retrieval',
    `The knowledge index was built with the embedding model ${built.model} (${built.dimension} dimensions), and ${embedder === null ? 'no embedder' : `${embedder.identity.model} (${embedder.identity.dimension})`} is given now. Build the index again.`,
  );
}

/** @throws DlgforgeError `retrieval` when there is no index, it is damaged, or it needs another embedder. */
export async function openIndex(options: OpenOptions): Promise<LancedbRetriever> {
  const { manifest, unmark } = await holdLive(options.persistDir);
  try {
    return await openDescribed(options, manifest, () => PassageTables.connect(options.persistDir), unmark);
  } catch (error) {
    await unmark();
    throw error;
  }
}

/** An index whose manifest is known, wherever its tables are. `unmark` is called when it is closed. */
export async function openDescribed(
  options: OpenOptions,
  manifest: Manifest,
  connect: () => Promise<PassageTables>,
  unmark: () => Promise<void> = async () => undefined,
): Promise<LancedbRetriever> {
  assertSameEmbedder(manifest, options.embedder);
  const tables = await connect();
  try {
    const table = await tables.open(manifest.table, manifest.identity.embedder?.dimension ?? null);
    const inventory = await Inventory.load(
      table,
      manifest.textLength,
      options.residentTextMax ?? RESIDENT_TEXT_MAX,
    );
    return new LancedbRetriever({ options, manifest, tables, table, inventory, unmark });
  } catch (error) {
    tables.close();
    throw error;
  }
}
