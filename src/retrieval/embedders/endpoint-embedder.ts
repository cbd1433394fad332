/** Embeddings of any OpenAI-compatible `/embeddings` endpoint. */
import { z } from 'zod';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Embedder, EmbedderIdentity } from '../../ports/retriever.ts';
import { JsonEndpoint, type JsonEndpointOptions } from '../json-endpoint.ts';
import { unitVector } from './unit-vector.ts';

export interface EndpointEmbedderOptions extends Omit<JsonEndpointOptions, 'section'> {
  readonly model: string;
  /** Asks the endpoint to shorten its vectors; null takes them as they come. */
  readonly dimensions: number | null;
}

/** One request carries at most this many texts and characters; servers refuse more. */
const BATCH_TEXTS = 64;
const BATCH_CHARACTERS = 200_000;
const REQUESTS_IN_FLIGHT = 4;

const answerSchema = z.object({
  data: z.array(
    z.object({ index: z.number().int().nonnegative().optional(), embedding: z.array(z.number()) }),
  ),
});

function batches(texts: readonly string[]): string[][] {
  const all: string[][] = [];
  let characters = 0;
  for (const text of texts) {
    const last = all.at(-1);
    if (last === undefined || last.length >= BATCH_TEXTS || characters + text.length > BATCH_CHARACTERS) {
      all.push([text]);
      characters = text.length;
    } else {
      last.push(text);
      characters += text.length;
    }
  }
  return all;
}

export class EndpointEmbedder implements Embedder {
  readonly identity: EmbedderIdentity;
  readonly #options: EndpointEmbedderOptions;
  readonly #endpoint: JsonEndpoint;

  private constructor(options: EndpointEmbedderOptions, endpoint: JsonEndpoint, identity: EmbedderIdentity) {
    this.#options = options;
    this.#endpoint = endpoint;
    this.identity = identity;
  }

  /** Embeds one word, to see that the endpoint answers and how long its vectors are. */
  static async connect(options: EndpointEmbedderOptions, signal?: AbortSignal): Promise<EndpointEmbedder> {
    const endpoint = new JsonEndpoint({ ...options, section: 'tools.retrieval.embeddings' });
    try {
      const [probe] = await request(endpoint, options, ['dimension'], signal);
      const identity = {
        model: options.model,
        dimension: probe?.length ?? 0,
        version: `endpoint-1/${options.dimensions ?? 'full'}`,
      };
      return new EndpointEmbedder(options, endpoint, identity);
    } catch (error) {
      await endpoint.close();
      throw error;
    }
  }

  async embed(
    texts: readonly string[],
    _kind: 'passage' | 'query',
    signal?: AbortSignal,
  ): Promise<readonly Float32Array[]> {
    const work = batches(texts);
    const vectors: Float32Array[][] = work.map(() => []);
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let i = next++; i < work.length; i = next++)
        vectors[i] = await request(this.#endpoint, this.#options, work[i] ?? [], signal);
    };
    await Promise.all(Array.from({ length: Math.min(REQUESTS_IN_FLIGHT, work.length) }, lane));
    return vectors.flat();
  }

  close(): Promise<void> {
    return this.#endpoint.close();
  }
}

async function request(
  endpoint: JsonEndpoint,
  options: EndpointEmbedderOptions,
  texts: readonly string[],
  signal?: AbortSignal,
): Promise<Float32Array[]> {
  const { model, dimensions } = options;
  const body = {
    model,
    input: texts,
    encoding_format: 'float',
    ...(dimensions === null ? {} : { dimensions }),
  };
  const { data } = await endpoint.post('/embeddings', body, answerSchema, signal);
  const ordered = data
    .map((item, i) => ({ at: item.index ?? i, embedding: item.embedding }))
    .sort((a, b) => a.at - b.at);
  if (ordered.length !== texts.length || ordered.some((item, i) => item.at !== i)) {
    throw new DlgforgeError(
      'retrieval',
      `The embeddings endpoint gave ${data.length} vectors for ${texts.length} texts. Check base_url and model under tools.retrieval.embeddings.`,
    );
  }
  return ordered.map((item) => unitVector(item.embedding));
}
