/** Web search by Serper (as in 0.1.0). A failed search is a result that says so. */
import { Agent, fetch } from 'undici';
import { z } from 'zod';
import { messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type { WebSearch, WebSearchResult } from '../ports/retriever.ts';

export interface SerperOptions {
  /** Asked for at each search; null or '' when it is not set (I8: the key is not kept). */
  readonly key: () => string | null;
  /** Results per search; > 0. */
  readonly results: number;
  readonly timeoutMs: number;
  readonly logger: Logger;
  /** For tests. */
  readonly baseUrl?: string;
}

const SERPER = 'https://google.serper.dev';
const NOTHING = 'No web results were returned for this query.';
const CONNECTIONS_MAX = 32;
const REASON_LENGTH_MAX = 300;

const field = (otherwise: string) => z.string().min(1).catch(otherwise);
const hitSchema = z.object({
  title: field('No title'),
  link: field('No link'),
  snippet: field('No snippet provided.'),
});
const answerSchema = z.object({
  organic: z
    .array(hitSchema.catch({ title: 'No title', link: 'No link', snippet: 'No snippet provided.' }))
    .catch([]),
});

export class SerperWebSearch implements WebSearch {
  readonly #options: SerperOptions;
  readonly #agent = new Agent({ connections: CONNECTIONS_MAX, headersTimeout: 0, bodyTimeout: 0 });

  constructor(options: SerperOptions) {
    this.#options = options;
  }

  async search(query: string, signal?: AbortSignal): Promise<WebSearchResult> {
    const { logger, results: count } = this.#options;
    try {
      const results = (await this.#hits(query, signal)).slice(0, count);
      logger.log('info', 'tools', `[tools] web_search results=${results.length}`, { query });
      const rendered = results
        .map(({ title, link, snippet }) => `- ${title} (${link}): ${snippet}`)
        .join('\n');
      return { query, results, rendered: rendered === '' ? NOTHING : rendered };
    } catch (error) {
      const reason = this.#masked(reasonOf(error));
      logger.log('warn', 'tools', `[tools] web_search failed: ${reason}`, { query });
      return { query, results: [], rendered: `Web search failed: ${reason}` };
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #hits(query: string, signal?: AbortSignal): Promise<WebSearchResult['results']> {
    const { key, results, timeoutMs, baseUrl = SERPER } = this.#options;
    const secret = key();
    if (secret === null || secret === '') throw new Error('SERPER_API_KEY is not set.');
    const deadline = AbortSignal.timeout(timeoutMs);
    const response = await fetch(`${baseUrl}/search`, {
      method: 'POST',
      headers: { 'X-API-KEY': secret, 'Content-Type': 'application/json' },
      body: JSON.stringify({ q: query, num: results }),
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      dispatcher: this.#agent,
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`HTTP ${response.status}: ${text.slice(0, REASON_LENGTH_MAX)}`);
    return answerSchema.parse(JSON.parse(text)).organic;
  }

  /** Services quote keys in their complaints (I8). */
  #masked(reason: string): string {
    const secret = this.#options.key();
    return secret === null || secret === '' ? reason : reason.replaceAll(secret, '***');
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return 'no answer in time';
  return messageOf(error instanceof Error && error.cause instanceof Error ? error.cause : error);
}
