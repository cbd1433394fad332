/**
 * Posts JSON to a service that embeds or reranks, and retries what may succeed later: bounded tries,
 * full jitter, Retry-After obeyed. One client for both, because they fail in the same ways.
 */
import { Agent, fetch } from 'undici';
import type { z } from 'zod';
import { type Clock, delay, systemClock } from '../kernel/clock.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';

export interface JsonEndpointOptions {
  /** With its version, for example `https://api.openai.com/v1`. */
  readonly baseUrl: string;
  /** Asked for at each request; null sends none (I8: the key is not kept). */
  readonly key: () => string | null;
  /** The configuration section to look at when it fails, for example `tools.retrieval.embeddings`. */
  readonly section: string;
  /** For one request; default 60 s. */
  readonly timeoutMs?: number;
  /** Tries after the first; default 5. */
  readonly maxRetries?: number;
  readonly clock?: Clock;
}

type Attempt<T> =
  | { readonly type: 'answered'; readonly value: T }
  | { readonly type: 'retry'; readonly reason: string; readonly afterMs: number | null }
  | { readonly type: 'failed'; readonly reason: string };

const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 20_000;
/** A server that asks for more patience than this gets an error that says so. */
const RETRY_AFTER_MAX_MS = 10 * 60_000;
const REASON_LENGTH_MAX = 300;
const CONNECTIONS_MAX = 16;

/** Seconds or a date, as in RFC 9110 section 10.2.3; null when absent or unreadable. */
function retryAfterMs(header: string | null, nowMs: number): number | null {
  if (header === null) return null;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const at = Date.parse(header);
  return Number.isNaN(at) ? null : Math.max(0, at - nowMs);
}

export class JsonEndpoint {
  readonly #options: JsonEndpointOptions;
  readonly #clock: Clock;
  readonly #agent = new Agent({ connections: CONNECTIONS_MAX, headersTimeout: 0, bodyTimeout: 0 });

  constructor(options: JsonEndpointOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** @throws DlgforgeError `retrieval` when the service keeps failing, `cancelled` when `signal` aborts. */
  async post<T>(path: string, body: unknown, schema: z.ZodType<T>, signal?: AbortSignal): Promise<T> {
    const retries = this.#options.maxRetries ?? 5;
    for (let attempt = 0; ; attempt += 1) {
      const outcome = await this.#attempt(path, body, schema, signal);
      if (outcome.type === 'answered') return outcome.value;
      const waitMs = outcome.type === 'retry' ? this.#waitMs(attempt, outcome.afterMs) : null;
      if (outcome.type === 'failed' || attempt >= retries || waitMs === null)
        throw this.#failure(path, outcome.reason, attempt + 1);
      await delay(this.#clock, waitMs, signal);
      throwIfCancelled(signal);
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  #waitMs(attempt: number, afterMs: number | null): number | null {
    if (afterMs !== null) return afterMs > RETRY_AFTER_MAX_MS ? null : afterMs;
    return Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** attempt);
  }

  async #attempt<T>(
    path: string,
    body: unknown,
    schema: z.ZodType<T>,
    signal?: AbortSignal,
  ): Promise<Attempt<T>> {
    const { timeoutMs = 60_000 } = this.#options;
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      const response = await fetch(`${this.#options.baseUrl.replace(/\/+$/, '')}${path}`, {
        method: 'POST',
        headers: this.#headers(),
        body: JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
        dispatcher: this.#agent,
      });
      const text = await response.text();
      if (response.ok) return readAnswer(text, schema);
      const reason = `HTTP ${response.status}: ${this.#masked(text)}`;
      const mayPass = response.status >= 500 || [408, 409, 425, 429].includes(response.status);
      if (!mayPass) return { type: 'failed', reason };
      return {
        type: 'retry',
        reason,
        afterMs: retryAfterMs(response.headers.get('retry-after'), this.#clock.now()),
      };
    } catch (error) {
      throwIfCancelled(signal);
      const reason = deadline.aborted
        ? `no answer within ${timeoutMs / 1000} s`
        : messageOf(error instanceof Error && error.cause instanceof Error ? error.cause : error);
      return { type: 'retry', reason, afterMs: null };
    }
  }

  #headers(): Record<string, string> {
    const key = this.#options.key();
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json',
      'user-agent': 'dlgforge',
    };
    return key === null || key === '' ? headers : { ...headers, authorization: `Bearer ${key}` };
  }

  /** Servers quote keys in their complaints (I8). */
  #masked(text: string): string {
    const key = this.#options.key();
    const masked = key === null || key === '' ? text : text.replaceAll(key, '***');
    return masked.replace(/\s+/g, ' ').slice(0, REASON_LENGTH_MAX);
  }

  #failure(path: string, reason: string, tries: number): DlgforgeError {
    const { baseUrl, section } = this.#options;
    const times = tries === 1 ? '' : ` after ${tries} tries`;
    return new DlgforgeError(
      'retrieval',
      `${baseUrl}${path} cannot be used${times}: ${reason}. Check base_url, model and api_key_env under ${section}.`,
      { retryable: tries > 1 },
    );
  }
}

function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new DlgforgeError('cancelled', 'The request was cancelled.');
}

/** An answer of another form is a fault of the server or of the address, and comes again. */
function readAnswer<T>(text: string, schema: z.ZodType<T>): Attempt<T> {
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    if (parsed.success) return { type: 'answered', value: parsed.data };
    const issue = parsed.error.issues[0];
    return {
      type: 'failed',
      reason: `the answer has another form than agreed (${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''})`,
    };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { type: 'retry', reason: 'the answer is not JSON', afterMs: null };
  }
}
