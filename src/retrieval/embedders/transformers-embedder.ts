/** Sentence embeddings by a local model, through the optional package `@huggingface/transformers`. */
import { DlgforgeError, unreachable } from '../../kernel/errors.ts';
import { canonicalJson, sha256 } from '../../kernel/hash.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Embedder, EmbedderIdentity } from '../../ports/retriever.ts';
import { type LocalModel, type LocalModelSettings, loadLocalModel } from '../local-model.ts';
import { unitVector } from './unit-vector.ts';

export interface TransformersEmbedderSettings extends LocalModelSettings {
  /** `batch_size`, `pooling`, `prompt`, `query_prompt`, `passage_prompt`; others are said and ignored. */
  readonly encodeKwargs: Readonly<Record<string, unknown>>;
}

interface Encoding {
  readonly batchSize: number;
  readonly pooling: string;
  readonly prompts: { readonly query: string; readonly passage: string };
}

/** Measured on a CPU: larger batches are slower, because every text is padded to the longest. */
const CPU_BATCH_SIZE = 1;
const GPU_BATCH_SIZE = 32;
const HONOURED = new Set([
  'batch_size',
  'pooling',
  'prompt',
  'query_prompt',
  'passage_prompt',
  'normalize_embeddings',
]);

function encodingOf(kwargs: Readonly<Record<string, unknown>>, device: string, logger: Logger): Encoding {
  const ignored = Object.keys(kwargs).filter((name) => !HONOURED.has(name));
  if (ignored.length > 0)
    logger.log(
      'warn',
      'retrieval',
      `[retrieval] embeddings.encode_kwargs without meaning here: ${ignored.join(', ')}`,
    );
  const text = (name: string, otherwise: string): string =>
    typeof kwargs[name] === 'string' ? kwargs[name] : otherwise;
  const size = kwargs['batch_size'];
  const usualSize = device === 'auto' || device === 'cpu' ? CPU_BATCH_SIZE : GPU_BATCH_SIZE;
  const prompt = text('prompt', '');
  return {
    batchSize: typeof size === 'number' && size >= 1 ? Math.floor(size) : usualSize,
    pooling: text('pooling', 'mean'),
    prompts: { query: text('query_prompt', prompt), passage: text('passage_prompt', prompt) },
  };
}

async function vectors(
  model: LocalModel,
  { pooling, batchSize }: Encoding,
  texts: readonly string[],
): Promise<Float32Array[]> {
  const reply = await model.ask({ type: 'embed', texts, pooling, batchSize });
  switch (reply.type) {
    case 'vectors':
      return reply.vectors.map(unitVector);
    case 'failed':
      throw new DlgforgeError(
        'retrieval',
        `The local embedding model ${model.model} failed: ${reply.reason}. Check tools.retrieval.embeddings.`,
      );
    case 'loaded':
    case 'scores':
      throw new DlgforgeError(
        'retrieval',
        `The local embedding model ${model.model} gave a ${reply.type} reply.`,
      );
    default:
      return unreachable(reply);
  }
}

export class TransformersEmbedder implements Embedder {
  readonly identity: EmbedderIdentity;
  readonly #model: LocalModel;
  readonly #encoding: Encoding;

  private constructor(model: LocalModel, encoding: Encoding, identity: EmbedderIdentity) {
    this.#model = model;
    this.#encoding = encoding;
    this.identity = identity;
  }

  /** @throws DlgforgeError `retrieval` with the line to type when the package or the model is missing. */
  static async load(
    settings: TransformersEmbedderSettings,
    allowDownload: boolean,
    logger: Logger,
  ): Promise<TransformersEmbedder> {
    const model = await loadLocalModel(settings, {
      task: 'embed',
      allowDownload,
      section: 'tools.retrieval.embeddings',
      logger,
    });
    try {
      const encoding = encodingOf(settings.encodeKwargs, model.device, logger);
      const [probe] = await vectors(model, encoding, ['dimension']);
      const decisive = {
        pooling: encoding.pooling,
        prompts: encoding.prompts,
        model: settings.modelKwargs,
        tokenizer: settings.tokenizerKwargs,
      };
      const version = `transformers-${model.version}/${sha256(canonicalJson(decisive)).slice(0, 12)}`;
      return new TransformersEmbedder(model, encoding, {
        model: model.model,
        dimension: probe?.length ?? 0,
        version,
      });
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  async embed(
    texts: readonly string[],
    kind: 'passage' | 'query',
    signal?: AbortSignal,
  ): Promise<readonly Float32Array[]> {
    const prompt = this.#encoding.prompts[kind];
    const all: Float32Array[] = [];
    // In parts, so that an abort is heard.
    for (let start = 0; start < texts.length; start += 64) {
      if (signal?.aborted) throw new DlgforgeError('cancelled', 'Embedding was cancelled.');
      all.push(
        ...(await vectors(
          this.#model,
          this.#encoding,
          texts.slice(start, start + 64).map((text) => prompt + text),
        )),
      );
    }
    return all;
  }

  close(): Promise<void> {
    return this.#model.close();
  }
}
