import { isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import { invalidRequest, serverError, unknownModel, unknownRoute, wrongKey } from './api-error.ts';
import { BatchService } from './batches/batch-service.ts';
import { CapacityGate } from './capacity-gate.ts';
import { type ChatParts, serveChat } from './chat.ts';
import { asRecord } from './chat-request.ts';
import { embeddingsReply, type Reply } from './embeddings.ts';
import type { Exchange } from './exchange.ts';
import { metricsText } from './metrics.ts';
import { mergeOptions, type RehearsalOptions, servedModels } from './options.ts';
import { PassageTexts } from './passage-text.ts';
import { PrefixCache } from './prefix-cache.ts';
import type { RehearsalStats } from './request-counts.ts';
import type { LogEntry, Route } from './request-entry.ts';
import { RequestLog } from './request-log.ts';
import { rerankReply } from './rerank.ts';

/**
 * The routes of one server, without its socket. Owns the knobs as they are now, and through
 * `parts` everything that outlives a request.
 */
export class RehearsalService {
  #options: RehearsalOptions;
  readonly parts: ChatParts;
  readonly #batches: BatchService;
  readonly #serving = new Set<Promise<void>>();

  constructor(options: RehearsalOptions, logFile: string | undefined) {
    this.#options = options;
    this.parts = {
      log: new RequestLog(() => this.options, logFile),
      gate: new CapacityGate(() => this.options.capacity),
      cache: new PrefixCache(() => this.options.prefix_cache_blocks),
      texts: new PassageTexts(),
    };
    this.#batches = new BatchService(() => this.options, this.parts);
  }

  get options(): RehearsalOptions {
    return this.#options;
  }

  stats(): RehearsalStats {
    return this.parts.log.stats(this.parts.gate);
  }

  setOptions(changes: unknown): void {
    this.#options = mergeOptions(this.options, changes);
    this.parts.gate.admit();
  }

  reset(): void {
    this.parts.log.reset();
    this.parts.cache.clear();
  }

  /** Ends the batches; resolves when no request is being served. */
  async idle(): Promise<void> {
    await Promise.all([...this.#serving, this.#batches.close()]);
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
    if (BatchService.owns(path)) return this.#batches.serve(exchange);
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
