/**
 * The knowledge of a run on a worker's node: opened where it is when the node sees it, else fetched from the
 * cluster. A node that cannot do either searches through one that can (`knowledge-choice.ts`).
 */
import { join } from 'node:path';
import { isObjectStore, storageOptionsOf } from '../../config/object-store.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import type { Embedder, Reranker, Retriever } from '../../ports/retriever.ts';
import { readManifest } from '../../retrieval/index-manifest.ts';
import type { RunParts } from './run-parts.ts';

export interface WorkerKnowledgeOptions {
  readonly parts: Pick<RunParts, 'spec' | 'restored'>;
  readonly blobs: BlobStore;
  /** This node's folder for what can be fetched again. */
  readonly cacheDir: string;
  /** The node's working folder: local models are looked for there. */
  readonly folder: string;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
}

export interface WorkerKnowledge {
  readonly type: 'opened';
  readonly retriever: Retriever;
  /** The index folder on this node, to be published again if need be; null for an object store. */
  readonly persistDir: string | null;
  close(): Promise<void>;
}

/** This node cannot search by itself now. */
export interface KnowledgeElsewhere {
  readonly type: 'elsewhere';
  /** In words, for the log. */
  readonly why: string;
  /** Nothing is wrong; it will be there when it has been published. */
  readonly isExpected: boolean;
}

const elsewhere = (why: string, isExpected: boolean): KnowledgeElsewhere => ({
  type: 'elsewhere',
  why,
  isExpected,
});

/** Asking again later may help: the index may have been published, or a server may be back by then. */
export async function openWorkerKnowledge(
  options: WorkerKnowledgeOptions,
): Promise<WorkerKnowledge | KnowledgeElsewhere> {
  const { knowledge: lacks } = options.parts.restored.lacks;
  if (lacks.length > 0) return elsewhere(`this node lacks ${lacks.join(', ')}`, false);
  const cleanUp = new AsyncDisposableStack();
  try {
    const opened = await openSomewhere(options, cleanUp);
    if (opened !== null) return { type: 'opened', ...opened, close: () => cleanUp.disposeAsync() };
    await cleanUp.disposeAsync();
    return elsewhere('nobody has published the knowledge index yet', true);
  } catch (error) {
    await cleanUp.disposeAsync();
    if (!(error instanceof DlgforgeError)) throw error;
    return elsewhere(error.message, false);
  }
}

type Opened = Omit<WorkerKnowledge, 'type' | 'close'>;

async function openSomewhere(
  options: WorkerKnowledgeOptions,
  cleanUp: AsyncDisposableStack,
): Promise<Opened | null> {
  const { logger } = options;
  const { restored, spec } = options.parts;
  const { fingerprint } = spec.knowledge;
  const place = await findIndex(options);
  if (place === null) return null;
  const models = await openModels(options, cleanUp);
  if (place.type === 'address') {
    const { openShared } = await import('../../retrieval/shared-index.ts');
    const storageOptions = storageOptionsOf(restored.environment);
    const retriever = await openShared({ uri: place.uri, storageOptions, fingerprint, ...models, logger });
    cleanUp.defer(() => retriever.close());
    return { retriever, persistDir: null };
  }
  const { openIndex } = await import('../../retrieval/lancedb-retriever.ts');
  const retriever = await openIndex({ persistDir: place.path, ...models, logger });
  cleanUp.defer(() => retriever.close());
  if (retriever.info.fingerprint === fingerprint) return { retriever, persistDir: place.path };
  throw new DlgforgeError('retrieval', `The index in ${place.path} has just been replaced by another one.`);
}

type Place =
  | { readonly type: 'folder'; readonly path: string }
  | { readonly type: 'address'; readonly uri: string };

/** Null when it is to be fetched and nobody has published it. */
async function findIndex(options: WorkerKnowledgeOptions): Promise<Place | null> {
  const { fingerprint, place } = options.parts.spec.knowledge;
  if (place.type === 'place' && isObjectStore(place.uri)) return { type: 'address', uri: place.uri };
  const seen = place.type === 'place' ? place.uri : place.folder;
  if (await holdsIndex(seen, fingerprint)) return { type: 'folder', path: seen };
  if (place.type === 'place') {
    throw new DlgforgeError(
      'retrieval',
      `${seen} does not hold the index of the run here, although every node is said to see it. Mount it at that path, or set tools.retrieval.index.shared: false.`,
    );
  }
  const { fetchIndex } = await import('./knowledge-cache.ts');
  const path = await fetchIndex({
    blobs: options.blobs,
    name: place.name,
    fingerprint,
    cacheDir: join(options.cacheDir, 'indexes'),
    logger: options.logger,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  return path === null ? null : { type: 'folder', path };
}

async function holdsIndex(path: string, fingerprint: string): Promise<boolean> {
  try {
    const state = await readManifest(path);
    return state.type === 'present' && state.manifest.fingerprint === fingerprint;
  } catch (error) {
    // A folder that this process may not read is one that it does not see.
    if (error instanceof DlgforgeError) return false;
    throw error;
  }
}

interface Models {
  readonly embedder: Embedder | null;
  readonly reranker: Reranker | null;
  readonly rerankCandidates: number;
}

/** An index without vectors is searched without an embedder, also by a node that has one. */
async function openModels(options: WorkerKnowledgeOptions, cleanUp: AsyncDisposableStack): Promise<Models> {
  const { logger, signal, folder } = options;
  const { restored, spec } = options.parts;
  const project = { config: restored.config, loaded: restored, root: folder };
  const [{ chooseEmbedder }, { chooseReranker }, settings] = await Promise.all([
    import('../../retrieval/embedders/choose.ts'),
    import('../../retrieval/rerankers/choose.ts'),
    import('../knowledge.ts'),
  ]);
  const embedder =
    spec.knowledge.embedder === null
      ? null
      : await chooseEmbedder(settings.embeddingSettings(project), logger, signal);
  if (embedder !== null) cleanUp.defer(() => embedder.close());
  const reranker = await chooseReranker(settings.rerankerSettings(project), logger);
  if (reranker !== null) cleanUp.defer(() => reranker.close());
  return { embedder, reranker, rerankCandidates: restored.config.tools.retrieval.reranker.candidates };
}
