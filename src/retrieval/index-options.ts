import { DlgforgeError } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type { Embedder } from '../ports/retriever.ts';
import { INDEX_FORMAT, type IndexIdentity } from './index-manifest.ts';

export interface IndexOptions {
  /** Absolute path of the folder of documents. */
  readonly knowledgeDir: string;
  /** Absolute path of the folder that the index lives in; made when it is missing. */
  readonly persistDir: string;
  /** Most characters of a passage; > 0. */
  readonly chunkSize: number;
  /** Characters that neighbouring passages share at most; 0 ≤ overlap < chunkSize. */
  readonly chunkOverlap: number;
  /** Reads and embeds everything anew. The old index serves until the new one is complete. */
  readonly rebuild: boolean;
  /** True: a file whose size, times and inode are as before is taken for unchanged without reading it. */
  readonly skipIfUnchanged: boolean;
  /** null: full-text search only. */
  readonly embedder: Embedder | null;
  /** Vectors get a graph index from this many passages on. Default 20,000. */
  readonly vectorIndexRows?: number;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
}

export function identityOf({ chunkSize, chunkOverlap, embedder }: IndexOptions): IndexIdentity {
  return { format: INDEX_FORMAT, chunkSize, chunkOverlap, embedder: embedder?.identity ?? null };
}

/** Fault F5: sizes for which cutting would make no sense are refused before anything is read. */
export function assertChunking({ chunkSize, chunkOverlap }: IndexOptions): void {
  const isSize = Number.isInteger(chunkSize) && chunkSize > 0;
  if (isSize && Number.isInteger(chunkOverlap) && chunkOverlap >= 0 && chunkOverlap < chunkSize) return;
  throw new DlgforgeError(
    'config',
    `tools.retrieval.chunking: chunk_size ${chunkSize} must be a whole number above 0, and chunk_overlap ${chunkOverlap} one from 0 to less than chunk_size.`,
  );
}
