/**
 * The rehearsal backend: an OpenAI-compatible HTTP server that answers from the evidence it is given.
 *
 *   POST /v1/chat/completions    tools, tool_choice, response_format, streaming, usage
 *   POST /v1/embeddings          hashed n-grams, `float` and `base64`
 *   POST /v1/rerank              lexical scores
 *   GET  /v1/models, /v1/models/<id>, /health, /metrics (vLLM's names)
 *   GET  /rehearsal/log          the latest log entries; `?after=<seq>` and `?limit=<n>`
 *   GET  /rehearsal/stats        counts; `?keys=0` leaves out the counts per key
 *   GET  /rehearsal/options      the knobs as they are
 *   POST /rehearsal/options      changes the knobs that the body names
 *   POST /rehearsal/reset        forgets the counts, the log entries and the prefix cache
 *
 * `/v1` may be left out. An answer is a function of (seed, model, messages, tools); the hash of
 * these is the request's key, sent back as `x-rehearsal-key`, and every answer carries
 * `system_fingerprint: "rehearsal"`.
 *
 * The log has one JSON object per line, one line at a request's arrival and one at its completion:
 *
 *   event              `arrival` or `completion`; `reset` (with `seq` and `at_ms` only) after a reset
 *   seq                the request's number, from 1; both of its lines have it
 *   at_ms              milliseconds since the epoch
 *   route              `chat`, `embeddings` or `rerank`
 *   key                the request's key; empty for requests that could not be read
 *   role               `user`, `assistant`, `judge` or `general`
 *   model              as asked for
 *   arrival            how often this key has arrived, this time included
 *   in_flight          chat requests between arrival and completion, right after this event
 *   outcome            completion only: what became of it (see `Outcome`)
 *   status             completion only: the HTTP status; 0 when none was sent
 *   stalled, tool_calls, prompt_tokens, cached_tokens, completion_tokens
 *   service_ms         what latency, stall and token pace were drawn to take
 *   elapsed_ms         what it took, waiting for a place included
 *
 * A completion with status 200 is a paid answer.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DlgforgeError, isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import { invalidRequest, serverError, unknownModel, unknownRoute, wrongKey } from './api-error.ts';
import { CapacityGate } from './capacity-gate.ts';
import { serveChat } from './chat.ts';
import { asRecord } from './chat-request.ts';
import { embeddingsReply, type Reply } from './embeddings.ts';
import { Exchange } from './exchange.ts';
import { metricsText } from './metrics.ts';
import {
  mergeOptions,
  parseRehearsalOptions,
  type RehearsalOptions,
  type RehearsalOptionsInput,
  servedModels,
} from './options.ts';
import { PassageTexts } from './passage-text.ts';
import { PrefixCache } from './prefix-cache.ts';
import { type LogEntry, type RehearsalStats, RequestLog, type Route } from './request-log.ts';
import { rerankReply } from './rerank.ts';

export type StartRehearsalOptions = RehearsalOptionsInput & {
  /** @default '127.0.0.1' */
  readonly host?: string;
  /** 0 takes a free one. @default 0 */
  readonly port?: number;
  /** Appended to. */
  readonly logFile?: string;
};

export interface Rehearsal {
  /** `http://host:port`; OpenAI clients take it as their base URL with or without `/v1`. */
  readonly url: string;
  readonly port: number;
  readonly stats: () => RehearsalStats;
  /** The latest entries, oldest first; at most `log_limit`. */
  readonly log: () => readonly LogEntry[];
  readonly options: () => RehearsalOptions;
  /** Merges `changes` into the knobs. @throws DlgforgeError `config`, and nothing is changed. */
  readonly setOptions: (changes: RehearsalOptionsInput) => void;
  readonly reset: () => void;
  /** Ends every connection; resolves when the port is free again. Idempotent. */
  readonly close: () => Promise<void>;
}

/** @throws DlgforgeError `config` (knobs), `output` (log file) or `endpoint` (port). */
export async function startRehearsal(given: StartRehearsalOptions = {}): Promise<Rehearsal> {
  const { host = '127.0.0.1', port = 0, logFile, ...knobs } = given;
  const service = new RehearsalService(parseRehearsalOptions(knobs), logFile);
  const server = createServer((request, response) => {
    void service.serve(new Exchange(request, response));
  });
  // Longer than any client keeps a connection, so that none is closed under a request on its way.
  server.keepAliveTimeout = 120_000;
  server.requestTimeout = 0;
  server.maxConnections = 65_536;
  try {
    await listening(server, host, port);
  } catch (error) {
    service.close();
    throw error;
  }
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    port: bound,
    stats: () => service.stats(),
    log: () => service.parts.log.entries(),
    options: () => service.options,
    setOptions: (changes) => service.setOptions(changes),
    reset: () => service.reset(),
    close: onlyOnce(() => closed(server, service)),
  };
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new DlgforgeError(
          'endpoint',
          `The rehearsal backend cannot listen on ${host}:${port} (${messageOf(error)}). Choose another port, or 0 for any.`,
          { cause: error },
        ),
      ),
    );
    server.listen(port, host, resolve);
  });
}

async function closed(server: Server, service: RehearsalService): Promise<void> {
  const done = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  server.closeAllConnections();
  await done;
  await service.idle();
  service.close();
}

function onlyOnce(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  return () => {
    running ??= run();
    return running;
  };
}

class RehearsalService {
  options: RehearsalOptions;
  readonly parts;
  readonly #serving = new Set<Promise<void>>();

  constructor(options: RehearsalOptions, logFile: string | undefined) {
    this.options = options;
    this.parts = {
      log: new RequestLog(() => this.options, logFile),
      gate: new CapacityGate(() => this.options.capacity),
      cache: new PrefixCache(() => this.options.prefix_cache_blocks),
      texts: new PassageTexts(),
    };
  }

  stats(): RehearsalStats {
    return this.parts.log.stats(this.parts.gate);
  }

  setOptions(changes: unknown): void {
    this.options = mergeOptions(this.options, changes);
    this.parts.gate.admit();
  }

  reset(): void {
    this.parts.log.reset();
    this.parts.cache.clear();
  }

  /** Resolves when no request is being served. */
  async idle(): Promise<void> {
    await Promise.all(this.#serving);
  }

  close(): void {
    this.parts.log.close();
  }

  async serve(exchange: Exchange): Promise<void> {
    const work = this.#route(exchange).catch((error: unknown) => {
      // A client that breaks off while it sends its body ends here; everything else is told.
      if (exchange.gone) return;
      if (isDlgforgeError(error, 'config')) exchange.fail(invalidRequest(error.message, null));
      else
        exchange.fail({ ...serverError(500), message: `The rehearsal backend failed: ${messageOf(error)}` });
    });
    this.#serving.add(work);
    await work;
    this.#serving.delete(work);
  }

  async #route(exchange: Exchange): Promise<void> {
    const { method, path } = exchange;
    if (path === '/health') return exchange.json('{"status":"ok"}');
    if (path === '/metrics') return exchange.text(metricsText(this.stats()), 'text/plain; version=0.0.4');
    if (path.startsWith('/rehearsal/')) return this.#control(exchange);
    const { api_key: apiKey } = this.options;
    if (apiKey !== undefined && exchange.bearerToken !== apiKey) {
      return exchange.fail(wrongKey(exchange.bearerToken !== null));
    }
    if (method === 'GET' && (path === '/models' || path.startsWith('/models/')))
      return this.#models(exchange);
    if (method !== 'POST') return exchange.fail(unknownRoute(method, path));
    if (path === '/chat/completions') {
      const body = await exchange.readJson(this.options.max_body_bytes);
      return body.ok ? serveChat(exchange, body.value, this.options, this.parts) : exchange.fail(body.error);
    }
    if (path === '/embeddings') {
      return this.#reply(exchange, 'embeddings', (body) =>
        embeddingsReply(body, this.options.embedding_dimension),
      );
    }
    if (path === '/rerank') return this.#reply(exchange, 'rerank', rerankReply);
    return exchange.fail(unknownRoute(method, path));
  }

  async #reply(exchange: Exchange, route: Route, make: (body: unknown) => Reply): Promise<void> {
    const body = await exchange.readJson(this.options.max_body_bytes);
    if (!body.ok) return exchange.fail(body.error);
    const model = asRecord(body.value)?.model;
    const seen = this.parts.log.arrived(route, '', 'general', typeof model === 'string' ? model : '');
    const reply = make(body.value);
    this.parts.log.completed(
      seen,
      reply.ok ? { outcome: 'answered', status: 200 } : { outcome: 'refused', status: reply.error.status },
    );
    if (reply.ok) exchange.json(reply.body);
    else exchange.fail(reply.error);
  }

  #models(exchange: Exchange): void {
    const models = servedModels(this.options);
    const describe = (id: string) => ({ id, object: 'model', created: 0, owned_by: 'rehearsal' });
    if (exchange.path === '/models') {
      const ids = models.length > 0 ? models : ['rehearsal'];
      return exchange.json(JSON.stringify({ object: 'list', data: ids.map(describe) }));
    }
    const id = decodeURIComponent(exchange.path.slice('/models/'.length));
    if (models.length > 0 && !models.includes(id)) return exchange.fail(unknownModel(id));
    return exchange.json(JSON.stringify(describe(id)));
  }

  async #control(exchange: Exchange): Promise<void> {
    switch (`${exchange.method} ${exchange.path}`) {
      case 'GET /rehearsal/log':
        return exchange.json(JSON.stringify(this.#selected(exchange.query)));
      case 'GET /rehearsal/stats': {
        const { per_key: perKey, ...counts } = this.stats();
        return exchange.json(
          JSON.stringify(exchange.query.get('keys') === '0' ? counts : { ...counts, per_key: perKey }),
        );
      }
      case 'POST /rehearsal/options': {
        const body = await exchange.readJson(this.options.max_body_bytes);
        if (!body.ok) return exchange.fail(body.error);
        this.setOptions(body.value);
        return exchange.json(this.#shownOptions());
      }
      case 'GET /rehearsal/options':
        return exchange.json(this.#shownOptions());
      case 'POST /rehearsal/reset':
        this.reset();
        return exchange.json('{"status":"ok"}');
      default:
        return exchange.fail(unknownRoute(exchange.method, exchange.path));
    }
  }

  #shownOptions(): string {
    const { api_key: apiKey, ...rest } = this.options;
    return JSON.stringify(apiKey === undefined ? rest : { ...rest, api_key: '***' });
  }

  #selected(query: URLSearchParams): readonly LogEntry[] {
    const after = Number(query.get('after') ?? 0);
    const limit = Number(query.get('limit') ?? Number.POSITIVE_INFINITY);
    const entries = this.parts.log.entries().filter((entry) => entry.seq > after);
    return limit >= entries.length ? entries : entries.slice(-limit);
  }
}
