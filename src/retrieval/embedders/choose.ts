/** Which embedder a configuration means, said in one line. */
import { DlgforgeError, unreachable } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Embedder } from '../../ports/retriever.ts';
import { findModel, findTransformers } from '../local-model.ts';
import { EndpointEmbedder } from './endpoint-embedder.ts';
import { TransformersEmbedder, type TransformersEmbedderSettings } from './transformers-embedder.ts';

/** `tools.retrieval.embeddings`, with paths absolute and the key behind a function (I8). */
export interface EmbeddingSettings extends TransformersEmbedderSettings {
  readonly backend: 'auto' | 'none' | 'endpoint' | 'sentence_transformers';
  /** '' for none. */
  readonly baseUrl: string;
  readonly key: () => string | null;
  readonly dimensions: number | null;
}

export type EmbeddingChoice = {
  readonly use: 'none' | 'endpoint' | 'local' | 'local_on_disk';
  readonly why: string;
};

/** What a run would use, and why. Looks at what is installed; calls nobody. */
export function embeddingChoice(settings: EmbeddingSettings): EmbeddingChoice {
  switch (settings.backend) {
    case 'none':
      return { use: 'none', why: 'embeddings.backend is none' };
    case 'endpoint':
      return { use: 'endpoint', why: 'embeddings.backend is endpoint' };
    case 'sentence_transformers':
      return { use: 'local', why: 'embeddings.backend is sentence_transformers' };
    case 'auto':
      return automaticChoice(settings);
    default:
      return unreachable(settings.backend);
  }
}

function automaticChoice({ baseUrl, model, projectDir }: EmbeddingSettings): EmbeddingChoice {
  if (baseUrl !== '') return { use: 'endpoint', why: 'embeddings.base_url is set' };
  if (findTransformers(projectDir) === null)
    return { use: 'none', why: 'no embeddings.base_url, and no local model package installed' };
  if (findModel(model, projectDir) === null)
    return { use: 'none', why: `no embeddings.base_url, and the model ${model} is not on disk` };
  return { use: 'local_on_disk', why: 'the local model package and the model are there' };
}

async function make(
  settings: EmbeddingSettings,
  { use }: EmbeddingChoice,
  logger: Logger,
  signal?: AbortSignal,
): Promise<Embedder | null> {
  if (use === 'none') return null;
  if (use !== 'endpoint') return TransformersEmbedder.load(settings, use === 'local', logger);
  if (settings.baseUrl === '') {
    throw new DlgforgeError(
      'retrieval',
      'tools.retrieval.embeddings.backend is endpoint, but there is no address. Set tools.retrieval.embeddings.base_url (with its /v1), or backend: none.',
    );
  }
  const { baseUrl, key, model, dimensions } = settings;
  return EndpointEmbedder.connect({ baseUrl, key, model, dimensions }, signal);
}

/**
 * null means full-text search. A backend that the user named is never replaced by another one.
 * @throws DlgforgeError `retrieval` when the chosen embedder cannot be had, with what to do
 */
export async function chooseEmbedder(
  settings: EmbeddingSettings,
  logger: Logger,
  signal?: AbortSignal,
): Promise<Embedder | null> {
  const choice = embeddingChoice(settings);
  const embedder = await make(settings, choice, logger, signal);
  const what =
    embedder === null
      ? 'full-text search without embeddings'
      : `hybrid search with ${embedder.identity.model} (${embedder.identity.dimension} dimensions, ${choice.use === 'endpoint' ? settings.baseUrl : 'local'})`;
  logger.log('info', 'retrieval', `[retrieval] ${what}: ${choice.why}`, {
    embedder: embedder?.identity ?? null,
  });
  return embedder;
}
