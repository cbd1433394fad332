/** The batch port over the files and batches of an OpenAI-compatible API. Owns its connections. */
import { Readable } from 'node:stream';
import { Agent } from 'undici';
import type { z } from 'zod';
import type { ModelRequest } from '../../dialogue/chat.ts';
import { type Clock, systemClock } from '../../kernel/clock.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { sha256 } from '../../kernel/hash.ts';
import type { Logger } from '../../kernel/logger.ts';
import type {
  BatchForm,
  BatchLine,
  BatchOrder,
  BatchPort,
  BatchResult,
  BatchState,
} from '../../ports/batch.ts';
import type { CapabilityMemory } from '../../ports/model.ts';
import { httpFailureOf } from '../attempt-failure.ts';
import { providerNamed } from '../providers.ts';
import { requestBody } from '../request-body.ts';
import { type EndpointConfig, lackingKey, type RoleSettings } from '../settings.ts';
import { BatchClient, cancelled, NotThere, type Operation } from './batch-client.ts';
import { LearnedForm } from './batch-form.ts';
import { type BatchReply, batchListReply, batchReply, batchState, fileReply } from './batch-replies.ts';
import { resultLines } from './result-lines.ts';
import { readResult, type ResultReading } from './read-result.ts';

export interface BatchPortOptions {
  readonly endpoint: EndpointConfig;
  readonly settings: RoleSettings;
  readonly capabilities: CapabilityMemory;
  readonly logger: Logger;
  /** How long one operation is tried before it is given up. */
  readonly patienceMs: number;
  /** @default systemClock */
  readonly clock?: Clock;
}

const CALL_TIMEOUT_MS = 60_000;
const UPLOAD_TIMEOUT_MS = 600_000;
const DOWNLOAD_TIMEOUT_MS = 3_600_000;
/** A download that breaks off goes on where it was. */
const DOWNLOADS_MAX = 4;
/** Between two pieces of a reply. */
const SILENCE_MAX_MS = 120_000;
const DELETE_TIMEOUT_MS = 10_000;
const LIST_PAGE = 100;
/** Batches of an account that are looked through for one of ours, newest first. */
const LIST_PAGES_MAX = 20;
/** How providers answer whoever cancels a batch that has ended. */
const HAS_ENDED: ReadonlySet<number> = new Set([400, 409]);
const TARGET = '/v1/chat/completions';

/** @throws DlgforgeError `credentials` when the endpoint lacks its key. */
export function createBatchPort(options: BatchPortOptions): BatchPort {
  const lacking = lackingKey(options.endpoint);
  if (lacking !== null)
    throw new DlgforgeError('credentials', `${lacking}. Set it and run the command again.`);
  return new OpenAiBatches(options);
}

class OpenAiBatches implements BatchPort {
  readonly endpoint: string;
  readonly #settings: RoleSettings;
  readonly #logger: Logger;
  readonly #agent = new Agent({ headersTimeout: SILENCE_MAX_MS, bodyTimeout: SILENCE_MAX_MS });
  readonly #client: BatchClient;
  readonly #form: LearnedForm;
  readonly #reading: ResultReading;

  constructor({
    endpoint,
    settings,
    capabilities,
    logger,
    patienceMs,
    clock = systemClock,
  }: BatchPortOptions) {
    const provider = providerNamed(endpoint.provider);
    this.endpoint = endpoint.name;
    this.#settings = settings;
    this.#logger = logger;
    this.#client = new BatchClient({ endpoint, provider, agent: this.#agent, clock, logger, patienceMs });
    this.#form = new LearnedForm({ endpoint, provider, settings, capabilities, logger });
    this.#reading = {
      endpoint: endpoint.name,
      learned: this.#form,
      shown: (text) => this.#client.shown(text),
      nowMs: () => clock.now(),
    };
  }

  form(): Promise<BatchForm> {
    return this.#form.now();
  }

  line(customId: string, request: ModelRequest, form: BatchForm): BatchLine {
    const body = requestBody(request, this.#settings, form);
    const text = JSON.stringify({ custom_id: customId, method: 'POST', url: TARGET, body });
    return { bytes: Buffer.from(`${text}\n`), bodyHash: sha256(JSON.stringify(body)) };
  }

  async upload(name: string, lines: readonly Uint8Array[], signal: AbortSignal): Promise<string> {
    return await this.#required({
      what: 'the upload of a batch',
      timeoutMs: UPLOAD_TIMEOUT_MS,
      signal,
      async send(client, within) {
        const file = new File(lines as Uint8Array<ArrayBuffer>[], name, { type: 'application/jsonl' });
        const reply = await client.files.create({ file, purpose: 'batch' }, { signal: within }).asResponse();
        return fileReply.parse(await reply.json()).id;
      },
    });
  }

  async create(order: BatchOrder, signal: AbortSignal): Promise<BatchState> {
    return await this.#required({
      what: 'the creation of a batch',
      timeoutMs: CALL_TIMEOUT_MS,
      signal,
      send: (client, within) =>
        this.#state(
          client.batches
            .create(
              {
                input_file_id: order.fileId,
                endpoint: TARGET,
                completion_window: '24h',
                metadata: metadataOf(order),
              },
              { signal: within },
            )
            .asResponse(),
        ),
      // Its answer may be lost: a second one would be paid for again.
      done: () => this.find(order, signal),
    });
  }

  async find(order: BatchOrder, signal: AbortSignal): Promise<BatchState | null> {
    let after: string | undefined;
    for (let page = 0; page < LIST_PAGES_MAX; page += 1) {
      const reply = await this.#list(after, signal);
      const found = reply.data.find((batch) => isOf(batch, order));
      if (found !== undefined) return batchState(found);
      after = reply.data.at(-1)?.id;
      if (reply.has_more !== true || after === undefined) return null;
    }
    return null;
  }

  async retrieve(batchId: string, signal: AbortSignal): Promise<BatchState | null> {
    try {
      return await this.#client.run({
        what: `the state of batch ${batchId}`,
        timeoutMs: CALL_TIMEOUT_MS,
        signal,
        send: (client, within) =>
          this.#state(client.batches.retrieve(batchId, { signal: within }).asResponse()),
      });
    } catch (error) {
      if (error instanceof NotThere) return null;
      throw error;
    }
  }

  async cancel(batchId: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#client.run({
        what: `the cancelling of batch ${batchId}`,
        timeoutMs: CALL_TIMEOUT_MS,
        signal,
        async send(client, within) {
          try {
            await client.batches.cancel(batchId, { signal: within }).asResponse();
          } catch (error) {
            // One that has ended cannot be cancelled, and need not be.
            if (!HAS_ENDED.has(httpFailureOf(error)?.status ?? 0)) throw error;
          }
        },
      });
    } catch (error) {
      if (!(error instanceof NotThere)) throw error;
    }
  }

  async *results(fileId: string, form: BatchForm, signal: AbortSignal): AsyncIterable<BatchResult> {
    let read = 0;
    for (let tries = 1; ; tries += 1) {
      let line = 0;
      try {
        for await (const result of resultLines(await this.#download(fileId, signal))) {
          line += 1;
          if (line <= read) continue;
          read = line;
          yield readResult(result, form, this.#reading);
        }
        return;
      } catch (error) {
        if (error instanceof DlgforgeError) throw error;
        if (signal.aborted) throw cancelled(error);
        if (tries >= DOWNLOADS_MAX) throw this.#brokenOff(fileId, error);
        this.#logger.log(
          'warn',
          'llm',
          `[batch] file ${fileId} broke off after ${read} lines and is fetched again: ${messageOf(error)}`,
        );
      }
    }
  }

  async deleteFile(fileId: string): Promise<void> {
    const signal = AbortSignal.timeout(DELETE_TIMEOUT_MS);
    try {
      await this.#client.run({
        what: `the deletion of file ${fileId}`,
        timeoutMs: DELETE_TIMEOUT_MS,
        signal,
        send: (client, within) => client.files.delete(fileId, { signal: within }).asResponse(),
      });
    } catch (error) {
      this.#logger.log(
        'info',
        'llm',
        `[batch] file ${fileId} stays at ${this.endpoint}: ${messageOf(error)}`,
      );
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #state(reply: Promise<Response>): Promise<BatchState> {
    const state = batchState(batchReply.parse(await (await reply).json()));
    return { ...state, errors: this.#client.shown(state.errors) };
  }

  /** Nothing where the provider does not list its batches. */
  async #list(after: string | undefined, signal: AbortSignal): Promise<z.output<typeof batchListReply>> {
    const query = { limit: LIST_PAGE, ...(after === undefined ? {} : { after }) };
    try {
      return await this.#client.run({
        what: 'the list of batches',
        timeoutMs: CALL_TIMEOUT_MS,
        signal,
        async send(client, within) {
          const response = await client.batches.list(query, { signal: within }).asResponse();
          return batchListReply.parse(await response.json());
        },
      });
    } catch (error) {
      if (!(error instanceof NotThere)) throw error;
      return { data: [] };
    }
  }

  async #required<T>(operation: Operation<T>): Promise<T> {
    try {
      return await this.#client.run(operation);
    } catch (error) {
      if (!(error instanceof NotThere)) throw error;
      throw new DlgforgeError(
        'endpoint',
        `${this.endpoint} has no batch API: ${operation.what} was answered with ${error.message}. Leave --batch out, or choose an endpoint for the judge that has /v1/files and /v1/batches.`,
        { cause: error },
      );
    }
  }

  /** Nothing for a file that is not there. */
  async #download(fileId: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    try {
      const response = await this.#client.run({
        what: `the download of file ${fileId}`,
        timeoutMs: DOWNLOAD_TIMEOUT_MS,
        signal,
        send: async (client, within) => await client.files.content(fileId, { signal: within }),
      });
      return (response.body ?? Readable.from([])) as AsyncIterable<Uint8Array>;
    } catch (error) {
      if (!(error instanceof NotThere)) throw error;
      this.#logger.log('warn', 'llm', `[batch] ${this.endpoint} does not have the file ${fileId} any more`);
      return Readable.from([]);
    }
  }

  #brokenOff(fileId: string, cause: unknown): DlgforgeError {
    return new DlgforgeError(
      'endpoint',
      `${this.endpoint}: the answers in file ${fileId} broke off ${DOWNLOADS_MAX} times: ${messageOf(cause)}. Run the same command again: it goes on where it was.`,
      { retryable: true, cause },
    );
  }
}

const metadataOf = ({ part }: BatchOrder): Record<string, string> => ({ dlgforge_part: part });

/** The file is ours alone, so a provider that drops metadata does no harm. */
const isOf = (batch: BatchReply, { part, fileId }: BatchOrder): boolean =>
  batch.input_file_id === fileId || batch.metadata?.['dlgforge_part'] === part;
