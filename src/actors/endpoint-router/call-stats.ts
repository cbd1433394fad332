import type { ModelAnswer } from '../../dialogue/chat.ts';
import type { RetryCause } from '../../ports/model.ts';

/** What the calls of a process came to since it started; the run's totals are in the store. */
export interface CallStats {
  /** Calls that were answered. */
  readonly calls: number;
  /** Requests that were sent. */
  readonly attempts: number;
  readonly refused: number;
  readonly retries: Readonly<Record<RetryCause, number>>;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export class CallCounters {
  #calls = 0;
  #attempts = 0;
  #refused = 0;
  #promptTokens = 0;
  #cachedTokens = 0;
  #completionTokens = 0;
  readonly #retries: Record<RetryCause, number> = {
    rate_limit: 0,
    server: 0,
    connection: 0,
    timeout: 0,
    unreadable: 0,
  };

  attempted(): void {
    this.#attempts += 1;
  }

  answered({ usage }: ModelAnswer): void {
    this.#calls += 1;
    this.#promptTokens += usage.promptTokens;
    this.#cachedTokens += usage.cachedTokens;
    this.#completionTokens += usage.completionTokens;
  }

  refused(): void {
    this.#refused += 1;
  }

  retried(cause: RetryCause): void {
    this.#retries[cause] += 1;
  }

  read(): CallStats {
    return {
      calls: this.#calls,
      attempts: this.#attempts,
      refused: this.#refused,
      retries: { ...this.#retries },
      promptTokens: this.#promptTokens,
      cachedTokens: this.#cachedTokens,
      completionTokens: this.#completionTokens,
    };
  }
}
