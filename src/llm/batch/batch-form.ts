/**
 * In which form an endpoint takes requests in batches: what other processes found out is used, and what a batch
 * is refused for is learned for the next one.
 */
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { BatchForm } from '../../ports/batch.ts';
import type { CapabilityMemory, ResponseFormatKind } from '../../ports/model.ts';
import { weakerFormat } from '../format-refusal.ts';
import { shownUrl } from '../plan-endpoints.ts';
import { type Provider, wireModel } from '../providers.ts';
import type { ServerError } from '../server-error.ts';
import type { EndpointConfig, RoleSettings } from '../settings.ts';
import { refusesTokenField } from '../token-field.ts';

export interface LearnedFormOptions {
  readonly endpoint: EndpointConfig;
  readonly provider: Provider;
  readonly settings: RoleSettings;
  readonly capabilities: CapabilityMemory;
  readonly logger: Logger;
}

export class LearnedForm {
  readonly #options: LearnedFormOptions;
  readonly #model: string;
  #format: ResponseFormatKind | null = null;
  #maxTokensField: BatchForm['maxTokensField'];

  constructor(options: LearnedFormOptions) {
    this.#options = options;
    this.#model = wireModel(options.provider, options.endpoint.model ?? options.settings.model);
    this.#maxTokensField = options.provider.maxTokensField;
  }

  async now(): Promise<BatchForm> {
    this.#format ??= (await this.#known()) ?? this.#options.provider.strongestFormat;
    return {
      url: `${shownUrl(this.#options.endpoint.baseUrl).replace(/\/+$/, '')}/chat/completions`,
      format: this.#format,
      maxTokensField: this.#maxTokensField,
      model: this.#model,
    };
  }

  /** True when the refusal is about the form, and the next batch will have another one. */
  learns(said: ServerError, status: number, used: BatchForm): boolean {
    const weaker = weakerFormat(said, status, used.format, false);
    if (weaker !== null) {
      // Many lines of one file say the same.
      if (this.#format === used.format) this.#weaken(weaker, said.message);
      return true;
    }
    if (this.#options.settings.maxTokens === null || !refusesTokenField(said, used.maxTokensField))
      return false;
    this.#maxTokensField = used.maxTokensField === 'max_tokens' ? 'max_completion_tokens' : 'max_tokens';
    return true;
  }

  #weaken(format: ResponseFormatKind, reason: string): void {
    const { capabilities, logger } = this.#options;
    this.#format = format;
    logger.log(
      'warn',
      'llm',
      `[batch] ${this.#key()} takes no stronger response_format than ${format}: ${reason}`,
    );
    capabilities.remember(this.#key(), format).catch((error: unknown) => {
      logger.log(
        'warn',
        'llm',
        `[batch] that could not be remembered and will be learned again: ${messageOf(error)}`,
      );
    });
  }

  async #known(): Promise<ResponseFormatKind | undefined> {
    try {
      return (await this.#options.capabilities.load()).get(this.#key());
    } catch (error) {
      this.#options.logger.log(
        'warn',
        'llm',
        `[batch] what endpoints support could not be read and will be learned again: ${messageOf(error)}`,
      );
      return undefined;
    }
  }

  /** As single calls remember it. */
  #key(): string {
    return `${this.#options.endpoint.baseUrl} ${this.#model}`;
  }
}
