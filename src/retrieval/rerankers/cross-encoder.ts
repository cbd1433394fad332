/** A local cross-encoder, through the optional package `@huggingface/transformers`. */
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Reranker } from '../../ports/retriever.ts';
import { type LocalModel, type LocalModelSettings, loadLocalModel } from '../local-model.ts';

export interface CrossEncoderSettings extends LocalModelSettings {
  /** Longest pair of query and text, in tokens. */
  readonly maxLength: number;
  /** Pairs scored at once. */
  readonly batchSize: number;
}

export class CrossEncoder implements Reranker {
  readonly #model: LocalModel;
  readonly #settings: CrossEncoderSettings;

  private constructor(model: LocalModel, settings: CrossEncoderSettings) {
    this.#model = model;
    this.#settings = settings;
  }

  /** Loads the model once for the life of the reranker (fault D6). */
  static async load(settings: CrossEncoderSettings, logger: Logger): Promise<CrossEncoder> {
    const model = await loadLocalModel(settings, {
      task: 'rank',
      allowDownload: true,
      section: 'tools.retrieval.reranker',
      logger,
    });
    return new CrossEncoder(model, settings);
  }

  async rank(query: string, texts: readonly string[], signal?: AbortSignal): Promise<readonly number[]> {
    if (signal?.aborted) throw new DlgforgeError('cancelled', 'Reranking was cancelled.');
    const { maxLength, batchSize } = this.#settings;
    const reply = await this.#model.ask({ type: 'rank', query, texts, maxLength, batchSize });
    if (reply.type === 'scores' && reply.scores.length === texts.length) return reply.scores;
    throw new DlgforgeError(
      'retrieval',
      `The local reranker ${this.#model.model} failed: ${reply.type === 'failed' ? reply.reason : 'it scored another number of texts'}. Check tools.retrieval.reranker.`,
    );
  }

  close(): Promise<void> {
    return this.#model.close();
  }
}
