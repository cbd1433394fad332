/** The knowledge of a project: indexed, opened and ready to be searched. */
import { readSecret, serperKey } from '../config/credentials.ts';
import type { Environment } from '../config/environment.ts';
import type { Config } from '../config/schema.ts';
import type { Retriever, WebSearch } from '../ports/retriever.ts';
import { chooseEmbedder, type EmbeddingSettings } from '../retrieval/embedders/choose.ts';
import { buildIndex, type IndexProgress, type IndexReport } from '../retrieval/index-builder.ts';
import { openIndex } from '../retrieval/lancedb-retriever.ts';
import { chooseReranker, type RerankerSettings } from '../retrieval/rerankers/choose.ts';
import { SerperWebSearch } from '../retrieval/serper-web-search.ts';
import type { Project } from './project.ts';

export interface Knowledge {
  readonly retriever: Retriever;
  readonly webSearch: WebSearch | null;
  readonly report: IndexReport;
  close(): Promise<void>;
}

export interface KnowledgeOptions {
  readonly onProgress?: (progress: IndexProgress) => void;
  readonly signal?: AbortSignal;
}

/** @throws DlgforgeError `knowledge` or `retrieval`. */
export async function openKnowledge(project: Project, options: KnowledgeOptions = {}): Promise<Knowledge> {
  const { config, folders, logger } = project;
  const { chunking, index, reranker: reranking } = config.tools.retrieval;
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.toReversed()) await closer();
    closers.length = 0;
  };
  try {
    const embedder = await chooseEmbedder(embeddingSettings(project), logger, options.signal);
    if (embedder !== null) closers.push(() => embedder.close());
    const reranker = await chooseReranker(rerankerSettings(project), logger);
    if (reranker !== null) closers.push(() => reranker.close());
    const report = await buildIndex(
      {
        knowledgeDir: folders.knowledge,
        persistDir: folders.index,
        chunkSize: chunking.chunk_size,
        chunkOverlap: chunking.chunk_overlap,
        rebuild: index.rebuild,
        skipIfUnchanged: index.skip_if_unchanged,
        embedder,
        logger,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      options.onProgress,
    );
    const retriever = await openIndex({
      persistDir: folders.index,
      embedder,
      reranker,
      rerankCandidates: reranking.candidates,
      logger,
    });
    closers.push(() => retriever.close());
    return { retriever, webSearch: webSearchOf(project), report, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What choosing models takes; a node has it without a project. */
export interface ModelsOf {
  readonly config: Config;
  readonly loaded: { readonly environment: Environment };
  /** Where local models are looked for. */
  readonly root: string;
}

const keyNamed = (project: ModelsOf, variable: string) => (): string | null =>
  variable.trim() === '' ? null : (readSecret(project.loaded.environment, variable.trim())?.reveal() ?? null);

export function embeddingSettings(project: ModelsOf): EmbeddingSettings {
  const settings = project.config.tools.retrieval.embeddings;
  return {
    backend: settings.backend,
    model: settings.model,
    fallbackModel: settings.fallback_model,
    device: settings.device,
    fallbackOnCpu: settings.fallback_on_cpu,
    modelKwargs: settings.model_kwargs,
    tokenizerKwargs: settings.tokenizer_kwargs,
    encodeKwargs: settings.encode_kwargs,
    baseUrl: settings.base_url,
    key: keyNamed(project, settings.api_key_env),
    dimensions: settings.dimensions,
    projectDir: project.root,
  };
}

export function rerankerSettings(project: ModelsOf): RerankerSettings {
  const { reranker, embeddings } = project.config.tools.retrieval;
  return {
    enabled: reranker.enabled,
    backend: reranker.backend,
    model: reranker.model,
    baseUrl: reranker.base_url,
    key: keyNamed(project, reranker.api_key_env),
    instruction: reranker.instruction,
    maxLength: reranker.max_length,
    batchSize: reranker.batch_size,
    device: embeddings.device,
    fallbackOnCpu: embeddings.fallback_on_cpu,
    projectDir: project.root,
  };
}

function webSearchOf({ config, loaded, logger }: Project): WebSearch | null {
  const { enabled, serper_num_results: results, serper_timeout: timeoutS } = config.tools.web_search;
  if (!enabled) return null;
  const key = (): string | null => serperKey(loaded.environment)?.reveal() ?? null;
  return new SerperWebSearch({ key, results, timeoutMs: timeoutS * 1000, logger });
}
