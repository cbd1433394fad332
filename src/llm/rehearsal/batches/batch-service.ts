/** The routes of files and batches. Owns both; everything is in memory, bounded, and ends with the server. */
import { type ApiError, invalidRequest, rateLimited, tooLarge, unknownRoute } from '../api-error.ts';
import { asRecord } from '../chat-request.ts';
import type { ChatParts } from '../chat.ts';
import type { Exchange } from '../exchange.ts';
import type { RehearsalOptions } from '../options.ts';
import { type BatchFile, BatchFiles } from './batch-files.ts';
import { BatchJob } from './batch-job.ts';

const TARGET = '/v1/chat/completions';
const PAGE = 20;
const PAGE_MAX = 100;

export class BatchService {
  readonly #options: () => RehearsalOptions;
  readonly #parts: Pick<ChatParts, 'log' | 'cache' | 'texts'>;
  readonly #files: BatchFiles;
  /** Oldest first. */
  readonly #jobs = new Map<string, BatchJob>();
  readonly #running = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #made = 0;

  constructor(options: () => RehearsalOptions, parts: Pick<ChatParts, 'log' | 'cache' | 'texts'>) {
    this.#options = options;
    this.#parts = parts;
    this.#files = new BatchFiles(() => options().batch.files_bytes_max);
  }

  /** True for paths that are its own, whatever is asked of them. */
  static owns(path: string): boolean {
    return /^\/(files|batches)(\/|$)/.test(path);
  }

  async serve(exchange: Exchange): Promise<void> {
    const { method, path } = exchange;
    if (!this.#options().batch.is_supported) return exchange.fail(unknownRoute(method, path));
    const [, kind = '', id = '', action = ''] = path.split('/');
    switch (`${method} /${kind}${id === '' ? '' : '/id'}${action === '' ? '' : `/${action}`}`) {
      case 'POST /files':
        return this.#upload(exchange);
      case 'GET /files/id':
        return this.#withFile(exchange, id, (file) => exchange.json(JSON.stringify(fileJson(file))));
      case 'GET /files/id/content':
        return this.#withFile(exchange, id, (file) =>
          exchange.bytes(file.chunks, 'application/octet-stream'),
        );
      case 'DELETE /files/id':
        return this.#withFile(exchange, id, () => {
          const deleted = this.#files.delete(id);
          exchange.json(JSON.stringify({ id, object: 'file', deleted }));
        });
      case 'POST /batches':
        return this.#create(exchange);
      case 'GET /batches':
        return this.#list(exchange);
      case 'GET /batches/id':
        return this.#withJob(exchange, id);
      case 'POST /batches/id/cancel':
        return this.#cancel(exchange, id);
      default:
        return exchange.fail(unknownRoute(method, path));
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#running);
  }

  async #upload(exchange: Exchange): Promise<void> {
    const { files_bytes_max: limit } = this.#options().batch;
    const form = await exchange.readForm(limit);
    if (!form.ok) return exchange.fail(form.error);
    const file = form.value.get('file');
    const purpose = form.value.get('purpose');
    if (!(file instanceof File))
      return exchange.fail(invalidRequest("'file' is a required property", 'file'));
    if (purpose !== 'batch')
      return exchange.fail(invalidRequest("Invalid value for purpose: use 'batch'.", 'purpose'));
    const kept = this.#files.add(file.name, purpose, [new Uint8Array(await file.arrayBuffer())]);
    if (kept === null) return exchange.fail(tooLarge(limit));
    exchange.json(JSON.stringify(fileJson(kept)));
  }

  async #create(exchange: Exchange): Promise<void> {
    const { batch, max_body_bytes: limit, retry_after_s: retryAfterS } = this.#options();
    const read = await exchange.readJson(limit);
    if (!read.ok) return exchange.fail(read.error);
    const body = asRecord(read.value);
    const input = typeof body?.input_file_id === 'string' ? this.#files.get(body.input_file_id) : undefined;
    if (input === undefined)
      return exchange.fail(
        invalidRequest('No such file object; upload it with purpose batch.', 'input_file_id'),
      );
    if (body?.endpoint !== TARGET)
      return exchange.fail(invalidRequest(`Only ${TARGET} is served.`, 'endpoint'));
    if (body.completion_window !== '24h')
      return exchange.fail(invalidRequest("The completion_window must be '24h'.", 'completion_window'));
    this.#forget(batch.batches_max - 1);
    if (this.#jobs.size >= batch.batches_max)
      return exchange.fail(rateLimited(retryAfterS, 'Too many open batches.'));
    this.#made += 1;
    const { metadata } = body;
    const job = new BatchJob(
      this.#made,
      input,
      { endpoint: TARGET, window: '24h', metadata },
      { ...this.#parts, files: this.#files, options: this.#options, closing: this.#closing.signal },
    );
    this.#jobs.set(job.id, job);
    const running = job.run().finally(() => this.#running.delete(running));
    this.#running.add(running);
    exchange.json(JSON.stringify(job.toJson()));
  }

  #list(exchange: Exchange): void {
    const after = exchange.query.get('after');
    const limit = Math.min(PAGE_MAX, Math.max(1, Number(exchange.query.get('limit') ?? PAGE) || PAGE));
    const newestFirst = [...this.#jobs.values()].reverse();
    const start = after === null ? 0 : newestFirst.findIndex(({ id }) => id === after) + 1;
    const page = newestFirst.slice(start, start + limit);
    exchange.json(
      JSON.stringify({
        object: 'list',
        data: page.map((job) => job.toJson()),
        first_id: page[0]?.id ?? null,
        last_id: page.at(-1)?.id ?? null,
        has_more: start + limit < newestFirst.length,
      }),
    );
  }

  #withFile(exchange: Exchange, id: string, use: (file: BatchFile) => void): void {
    const file = this.#files.get(id);
    if (file === undefined) exchange.fail(notFound('File', id));
    else use(file);
  }

  #cancel(exchange: Exchange, id: string): void {
    const job = this.#jobs.get(id);
    if (job?.isOpen === false)
      return exchange.fail({ ...notFound('open Batch', id), status: 409, message: `Batch ${id} has ended.` });
    job?.cancel();
    this.#withJob(exchange, id);
  }

  #withJob(exchange: Exchange, id: string): void {
    const job = this.#jobs.get(id);
    if (job === undefined) exchange.fail(notFound('Batch', id));
    else exchange.json(JSON.stringify(job.toJson()));
  }

  /** The oldest that have ended, until no more than `size` are left. */
  #forget(size: number): void {
    for (const [id, job] of this.#jobs) {
      if (this.#jobs.size <= size) return;
      if (!job.isOpen) this.#jobs.delete(id);
    }
  }
}

const notFound = (what: string, id: string): ApiError => ({
  status: 404,
  message: `No such ${what} object: ${id}`,
  type: 'invalid_request_error',
  param: 'id',
  code: null,
});

const fileJson = ({ id, name, purpose, bytes, createdAtMs }: BatchFile): object => ({
  id,
  object: 'file',
  bytes,
  created_at: Math.floor(createdAtMs / 1000),
  filename: name,
  purpose,
  status: 'processed',
});
