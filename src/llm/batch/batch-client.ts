/**
 * Requests to the file and batch interface of one endpoint: each with its own time-out, repeated with growing
 * pauses while trouble may pass. Replies are files of many megabytes, so they are read as streams.
 */
import { Readable } from 'node:stream';
import type OpenAI from 'openai';
import { type Agent, request } from 'undici';
import { z } from 'zod';
import { type Clock, delay } from '../../kernel/clock.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import {
  type FailedAttempt,
  failureOfConnection,
  failureOfStatus,
  httpFailureOf,
  withoutKey,
} from '../attempt-failure.ts';
import { addressOf, headersOf, HttpFailure, requestHeaders, sdkClient } from '../http-client.ts';
import type { Provider } from '../providers.ts';
import { readServerError } from '../server-error.ts';
import type { EndpointConfig } from '../settings.ts';

export interface BatchClientOptions {
  readonly endpoint: EndpointConfig;
  readonly provider: Provider;
  readonly agent: Agent;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long one operation is tried before it is given up. */
  readonly patienceMs: number;
}

export interface Operation<T> {
  /** For people: `the upload of a file`. */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly send: (client: OpenAI, signal: AbortSignal) => Promise<T>;
  /** Asked before a repetition: what was done although its answer was lost. @default nothing */
  readonly done?: () => Promise<T | null>;
}

const BACKOFF_FIRST_MS = 250;
const BACKOFF_MAX_MS = 30_000;
/** A pause that is asked for beyond this is not waited for. */
const RETRY_AFTER_MAX_MS = 600_000;
const ERROR_TEXT_MAX = 65_536;
const MISSING: ReadonlySet<number> = new Set([404, 405, 501]);

/** The endpoint does not have what was asked for: a file, a batch, or the whole interface. */
export class NotThere extends Error {
  override readonly name = 'NotThere';
}

export class BatchClient {
  readonly #options: BatchClientOptions;
  readonly #client: OpenAI;

  constructor(options: BatchClientOptions) {
    this.#options = options;
    this.#client = sdkClient(options.endpoint, sender(options));
  }

  /** @throws NotThere; DlgforgeError `cancelled`, `credentials` or `endpoint`. */
  async run<T>({ what, timeoutMs, signal, send, done }: Operation<T>): Promise<T> {
    const { clock, logger, patienceMs, endpoint } = this.#options;
    const startedMs = clock.now();
    for (let failures = 1; ; failures += 1) {
      const timeout = AbortSignal.timeout(timeoutMs);
      try {
        return await send(this.#client, AbortSignal.any([signal, timeout]));
      } catch (error) {
        if (signal.aborted) throw cancelled(error);
        const failure = this.#failureOf(error, timeout.aborted ? timeoutMs : null);
        const pauseMs = pauseOf(failure, failures);
        const isOver = clock.now() + pauseMs - startedMs > Math.max(patienceMs, 0);
        if (failure.type !== 'retry_later' || isOver || pauseMs > RETRY_AFTER_MAX_MS)
          throw this.#givenUp(what, failure, error);
        logger.log(
          'warn',
          'llm',
          `[batch] ${endpoint.name}: ${what} is tried again in ${Math.round(pauseMs)} ms: ${failure.reason}`,
        );
        await delay(clock, pauseMs, signal);
        if (signal.aborted) throw cancelled(error);
      }
      const found = (await done?.()) ?? null;
      if (found !== null) return found;
    }
  }

  #failureOf(error: unknown, timedOutAfterMs: number | null): FailedAttempt {
    if (error instanceof DlgforgeError || error instanceof NotThere) throw error;
    const failure = httpFailureOf(error);
    if (failure !== null) {
      if (MISSING.has(failure.status)) throw new NotThere(`HTTP ${failure.status}`, { cause: error });
      return this.#masked(
        failureOfStatus(failure, readServerError(failure.bodyText), this.#options.clock.now()),
      );
    }
    if (error instanceof z.ZodError || error instanceof SyntaxError) {
      const reason = `the answer cannot be read: ${error instanceof z.ZodError ? (error.issues[0]?.message ?? '') : messageOf(error)}`;
      return {
        type: 'retry_later',
        reason,
        cause: 'unreadable',
        status: 200,
        retryAfterMs: null,
        rateLimited: false,
      };
    }
    return this.#masked(failureOfConnection(error, timedOutAfterMs));
  }

  #masked<T extends FailedAttempt>(failure: T): T {
    return { ...failure, reason: this.shown(failure.reason) };
  }

  /** A key in a server's complaint is masked (I8). */
  shown(text: string): string {
    return withoutKey(text, this.#options.endpoint.key());
  }

  #givenUp(what: string, failure: FailedAttempt, cause: unknown): DlgforgeError {
    const isKey = failure.status === 401 || failure.status === 403;
    return new DlgforgeError(
      isKey ? 'credentials' : 'endpoint',
      `${this.#options.endpoint.name}: ${what} failed: ${failure.reason}. ${failure.type === 'retry_later' ? 'Run the same command again later: it goes on where it was.' : 'Correct that and run the same command again, or leave --batch out.'}`,
      { retryable: failure.type === 'retry_later', cause },
    );
  }
}

export const cancelled = (cause: unknown): DlgforgeError =>
  new DlgforgeError('cancelled', 'The request was cancelled.', { cause });

/** Full jitter, or what the server asks for. */
function pauseOf(failure: FailedAttempt, failures: number): number {
  if (failure.type === 'retry_later' && failure.retryAfterMs !== null) return failure.retryAfterMs;
  return Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** failures);
}

function sender({ endpoint, provider, agent }: BatchClientOptions): typeof fetch {
  const send = async (url: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const { bytes, contentType } = await encoded(init.body ?? null);
    const { statusCode, headers, body } = await request(addressOf(url), {
      method: (init.method ?? 'GET') as 'GET' | 'POST' | 'DELETE',
      headers: { ...requestHeaders(endpoint, provider), accept: '*/*', 'content-type': contentType },
      body: bytes,
      signal: init.signal ?? null,
      dispatcher: agent,
    });
    const received = headersOf(headers);
    if (statusCode < 200 || statusCode > 299)
      throw new HttpFailure(statusCode, received, (await body.text()).slice(0, ERROR_TEXT_MAX));
    return new Response(Readable.toWeb(body) as ReadableStream, { status: statusCode, headers: received });
  };
  // The SDK looks here for the class that its forms must suit.
  return Object.assign(send, { Response });
}

async function encoded(
  body: RequestInit['body'] | null,
): Promise<{ readonly bytes: Uint8Array | string | null; readonly contentType: string }> {
  if (!(body instanceof FormData)) return { bytes: body as string | null, contentType: 'application/json' };
  const form = new Response(body);
  const contentType = form.headers.get('content-type') ?? '';
  return { bytes: new Uint8Array(await form.arrayBuffer()), contentType };
}
