/** Which reranker a configuration means. */
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Reranker } from '../../ports/retriever.ts';
import { CrossEncoder } from './cross-encoder.ts';
import { EndpointReranker } from './endpoint-reranker.ts';

/** `tools.retrieval.reranker`, with paths absolute and the key behind a function (I8). */
export interface RerankerSettings {
  readonly enabled: boolean;
  readonly backend: 'endpoint' | 'cross_encoder';
  readonly model: string;
  /** '' for none; when set, the endpoint is used whatever `backend` says. */
  readonly baseUrl: string;
  readonly key: () => string | null;
  readonly instruction: string;
  readonly maxLength: number;
  readonly batchSize: number;
  /** Device of a local model, as for embeddings. */
  readonly device: string;
  readonly fallbackOnCpu: boolean;
  readonly projectDir: string;
}

/** Generative models that answer yes or no; a cross-encoder loader makes nonsense of them (fault F11). */
const GENERATIVE = /qwen3-reranker|bge-reranker-v2-(gemma|minicpm)/i;

/**
 * null when reranking is off.
 * @throws DlgforgeError `retrieval` when the configured reranker cannot be had, with what to do
 */
export async function chooseReranker(settings: RerankerSettings, logger: Logger): Promise<Reranker | null> {
  const { enabled, model, baseUrl, key, instruction, batchSize } = settings;
  if (!enabled || model === '') return null;
  if (settings.backend === 'endpoint' || baseUrl !== '') {
    if (baseUrl === '')
      throw new DlgforgeError(
        'retrieval',
        'tools.retrieval.reranker.backend is endpoint, but there is no address. Set tools.retrieval.reranker.base_url (with its /v1).',
      );
    logger.log('info', 'retrieval', `[reranker] ${model} at ${baseUrl}`);
    return new EndpointReranker({ baseUrl, key, model, instruction, batchSize });
  }
  if (GENERATIVE.test(model)) {
    throw new DlgforgeError(
      'retrieval',
      `${model} is a generative model, not a cross-encoder, and cannot be loaded here. Serve it (for example with vLLM) and set tools.retrieval.reranker.base_url, or name a cross-encoder as tools.retrieval.reranker.model.`,
    );
  }
  const reranker = await CrossEncoder.load(
    { ...settings, fallbackModel: '', modelKwargs: {}, tokenizerKwargs: {} },
    logger,
  );
  logger.log('info', 'retrieval', `[reranker] ${model}, local`);
  return reranker;
}
