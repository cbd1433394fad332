/** A `/rerank` endpoint as Cohere, Jina and vLLM serve it. */
import { z } from 'zod';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Reranker } from '../../ports/retriever.ts';
import { JsonEndpoint, type JsonEndpointOptions } from '../json-endpoint.ts';

export interface EndpointRerankerOptions extends Omit<JsonEndpointOptions, 'section'> {
  readonly model: string;
  /** Sent to models that take one (Qwen3). */
  readonly instruction: string;
  /** Documents in one request. */
  readonly batchSize: number;
}

const answerSchema = z.object({
  results: z.array(z.object({ index: z.number().int().nonnegative(), relevance_score: z.number() })),
});

export class EndpointReranker implements Reranker {
  readonly #options: EndpointRerankerOptions;
  readonly #endpoint: JsonEndpoint;

  constructor(options: EndpointRerankerOptions) {
    this.#options = options;
    this.#endpoint = new JsonEndpoint({ ...options, section: 'tools.retrieval.reranker' });
  }

  async rank(query: string, texts: readonly string[], signal?: AbortSignal): Promise<readonly number[]> {
    const { batchSize } = this.#options;
    const starts = Array.from({ length: Math.ceil(texts.length / batchSize) }, (_, i) => i * batchSize);
    const scores = await Promise.all(
      starts.map((start) => this.#batch(query, texts.slice(start, start + batchSize), signal)),
    );
    return scores.flat();
  }

  close(): Promise<void> {
    return this.#endpoint.close();
  }

  async #batch(query: string, documents: readonly string[], signal?: AbortSignal): Promise<number[]> {
    const { model, instruction } = this.#options;
    const takesInstruction = /qwen3/i.test(model) && instruction !== '';
    const body = {
      model,
      query,
      documents,
      top_n: documents.length,
      ...(takesInstruction ? { instruction } : {}),
    };
    const { results } = await this.#endpoint.post('/rerank', body, answerSchema, signal);
    const scores = new Map(results.map(({ index, relevance_score: score }) => [index, score]));
    return documents.map((_, i) => {
      const score = scores.get(i);
      if (score === undefined)
        throw new DlgforgeError(
          'retrieval',
          `The rerank endpoint scored ${scores.size} of ${documents.length} documents. Check base_url and model under tools.retrieval.reranker.`,
        );
      return score;
    });
  }
}
