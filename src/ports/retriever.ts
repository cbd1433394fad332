import type { DocumentEntry, Passage } from '../dialogue/passage.ts';

/** What an open index is. Two indexes with equal fingerprints answer equal queries equally. */
export interface IndexInfo {
  /** SHA-256 over the passages, the chunking and the embedder's identity. */
  readonly fingerprint: string;
  readonly documents: readonly DocumentEntry[];
  readonly passageCount: number;
  /** How `search` works: `full_text`, or `hybrid` with the embedder's identity. */
  readonly mode: 'full_text' | 'hybrid';
  readonly embedder: EmbedderIdentity | null;
}

/** Serves passages. Reads only; safe to share by any number of callers. */
export interface Retriever {
  readonly info: IndexInfo;
  /**
   * The best `k` passages, best first; fewer when the index holds fewer; all of them distinct.
   * Equal queries on an equal index give equal answers. An empty query gives [].
   * A failing reranker leaves the first-stage order, with a warning and a count.
   * @throws DlgforgeError `retrieval` when the embedder or the index fails, `cancelled` when `signal` aborts.
   */
  search(query: string, k: number, signal?: AbortSignal): Promise<readonly Passage[]>;
  /** The passages with these ids, in the order asked for; unknown ids are left out. */
  get(ids: readonly string[]): Promise<readonly Passage[]>;
  close(): Promise<void>;
}

export interface EmbedderIdentity {
  readonly model: string;
  readonly dimension: number;
  /** Changes when equal texts would get other vectors. */
  readonly version: string;
}

/** Turns texts into vectors. Implementations batch; none blocks the event loop. */
export interface Embedder {
  readonly identity: EmbedderIdentity;
  /** One unit-length vector per text, in order. @throws DlgforgeError `retrieval`. */
  embed(
    texts: readonly string[],
    kind: 'passage' | 'query',
    signal?: AbortSignal,
  ): Promise<readonly Float32Array[]>;
  close(): Promise<void>;
}

/** Scores how well each text answers the query; higher is better. */
export interface Reranker {
  rank(query: string, texts: readonly string[], signal?: AbortSignal): Promise<readonly number[]>;
  close(): Promise<void>;
}

/** The outcome of a web search in the form that models see (as in 0.1.0). */
export interface WebSearchResult {
  readonly query: string;
  readonly results: readonly { readonly title: string; readonly link: string; readonly snippet: string }[];
  readonly rendered: string;
}

/** Never throws for a failed search: the failure is the result, so that the model can say so. */
export interface WebSearch {
  search(query: string, signal?: AbortSignal): Promise<WebSearchResult>;
}
