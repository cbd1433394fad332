/**
 * What arrived and was not what it should be: counted, and logged once for each sender. Owns the count and
 * the bounded set of senders that were named already.
 */
import type { Logger } from '../../kernel/logger.ts';

const SENDERS_MAX = 1_000;

export class Refusals {
  readonly #logger: Logger;
  readonly #named = new Set<string>();
  #count = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get count(): number {
    return this.#count;
  }

  add(sender: string | null, why: string): void {
    this.#count += 1;
    const name = sender ?? 'unknown';
    if (this.#named.has(name) || this.#named.size >= SENDERS_MAX) return;
    this.#named.add(name);
    const who = sender === null ? 'a sender that does not say who it is' : `node ${sender}`;
    const text = `[nats] dropped what ${who} sent: ${why}; more of it is only counted`;
    this.#logger.log('warn', 'cluster', text);
  }
}
