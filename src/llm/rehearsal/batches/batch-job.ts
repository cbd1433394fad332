/** One batch from its creation to its end. Its answers are those of single calls, and logged as such. */
import { setTimeout as pause } from 'node:timers/promises';
import { errorBody, serverError } from '../api-error.ts';
import { answerTo, chatCall, outcomeOf, refusal } from '../chat-call.ts';
import type { ChatParts } from '../chat.ts';
import { asRecord, parseChatRequest } from '../chat-request.ts';
import { chatBody } from '../chat-response.ts';
import { Draws } from '../draws.ts';
import type { RehearsalOptions } from '../options.ts';
import { parseJson } from '../prompt-reading.ts';
import { withToolsFromMessages } from '../tools-in-messages.ts';
import type { BatchFile, BatchFiles } from './batch-files.ts';

export type BatchStatus =
  | 'validating'
  | 'in_progress'
  | 'cancelling'
  | 'completed'
  | 'failed'
  | 'expired'
  | 'cancelled';

export interface BatchJobParts extends Pick<ChatParts, 'log' | 'cache' | 'texts'> {
  readonly files: BatchFiles;
  readonly options: () => RehearsalOptions;
  /** Aborts when the server ends. */
  readonly closing: AbortSignal;
}

interface Line {
  readonly customId: string;
  readonly body: unknown;
}

interface Problem {
  readonly code: string;
  readonly message: string;
  readonly line: number | null;
}

/** Answers between two looks at the clock, and at other requests. */
const AT_ONCE = 32;
const TICK_MS = 10;

export class BatchJob {
  readonly id: string;
  readonly endpoint: string;
  readonly window: string;
  readonly metadata: unknown;
  readonly createdAtMs = Date.now();
  readonly #number: number;
  readonly #inputId: string;
  /** Null once it was read. */
  #input: BatchFile | null;
  readonly #parts: BatchJobParts;
  /** Until they are files. */
  #output: Buffer[] = [];
  #errors: Buffer[] = [];
  #answered = 0;
  #failed = 0;
  #problems: readonly Problem[] = [];
  #status: BatchStatus = 'validating';
  #endedAtMs: number | null = null;
  #total = 0;
  #outputFile: BatchFile | null = null;
  #errorFile: BatchFile | null = null;

  constructor(
    number: number,
    input: BatchFile,
    asked: { readonly endpoint: string; readonly window: string; readonly metadata: unknown },
    parts: BatchJobParts,
  ) {
    this.#number = number;
    this.id = `batch_rehearsal_${number}`;
    this.endpoint = asked.endpoint;
    this.window = asked.window;
    this.metadata = asked.metadata;
    this.#inputId = input.id;
    this.#input = input;
    this.#parts = parts;
    parts.files.pin(input.id);
  }

  get isOpen(): boolean {
    return this.#endedAtMs === null;
  }

  cancel(): void {
    if (this.isOpen) this.#status = 'cancelling';
  }

  /** Resolves when it has ended, or the server ends. */
  async run(): Promise<void> {
    // Whoever created it hears of it before it begins.
    await pause(0);
    const lines = this.#validated();
    if (lines === null) return this.#end('failed');
    this.#total = lines.length;
    if (this.#status === 'validating') this.#status = 'in_progress';
    const { batch } = this.#parts.options();
    const expires = this.#draws().happens('expiry', batch.expiry_rate);
    const last = expires ? Math.floor(lines.length * batch.expires_after) : lines.length;
    for (let at = 0; at < lines.length; at += 1) {
      if (!(await this.#isDue(at / lines.length, at % AT_ONCE === 0))) return;
      if (this.#status === 'cancelling') return this.#end('cancelled');
      if (at >= last) return this.#expire(lines.slice(at));
      const line = lines[at];
      if (line !== undefined) this.#serve(line);
    }
    if (!(await this.#isDue(1, false))) return;
    this.#end('completed');
  }

  toJson(): object {
    const at = (status: BatchStatus): number | null =>
      this.#status === status && this.#endedAtMs !== null ? seconds(this.#endedAtMs) : null;
    return {
      id: this.id,
      object: 'batch',
      endpoint: this.endpoint,
      errors:
        this.#problems.length === 0
          ? null
          : { object: 'list', data: this.#problems.map((problem) => ({ ...problem, param: null })) },
      input_file_id: this.#inputId,
      completion_window: this.window,
      status: this.#status,
      output_file_id: this.#outputFile?.id ?? null,
      error_file_id: this.#errorFile?.id ?? null,
      created_at: seconds(this.createdAtMs),
      completed_at: at('completed'),
      failed_at: at('failed'),
      expired_at: at('expired'),
      cancelled_at: at('cancelled'),
      request_counts: { total: this.#total, completed: this.#answered, failed: this.#failed },
      metadata: this.metadata ?? null,
    };
  }

  /** False when the server ends. Waits until this share of the duration is over. */
  async #isDue(share: number, letsOthers: boolean): Promise<boolean> {
    const { closing, options } = this.#parts;
    const dueMs = (): number => this.createdAtMs + options().batch.duration_ms * share;
    if (letsOthers) await pause(0);
    while (!closing.aborted && this.#status !== 'cancelling' && Date.now() < dueMs()) {
      await pause(Math.min(TICK_MS, Math.max(1, dueMs() - Date.now())), undefined, { signal: closing }).catch(
        () => undefined,
      );
    }
    return !closing.aborted;
  }

  #validated(): readonly Line[] | null {
    const { batch } = this.#parts.options();
    const refuse = (code: string, message: string, line: number | null = null): null => {
      this.#problems = [{ code, message, line }];
      return null;
    };
    if (this.#draws().happens('validation', batch.validation_failure_rate))
      return refuse('rehearsed_failure', 'The validation of this batch failed, as it was told to.');
    const texts = Buffer.concat([...(this.#input?.chunks ?? [])])
      .toString('utf8')
      .split('\n');
    this.#input = null;
    const lines: Line[] = [];
    const seen = new Set<string>();
    for (const [index, text] of texts.entries()) {
      if (text.trim() === '') continue;
      const line = asRecord(parseJson(text));
      const customId = line?.custom_id;
      if (line === null || typeof customId !== 'string')
        return refuse('invalid_json_line', 'This line is not a request with a custom_id.', index + 1);
      if (line.method !== 'POST' || line.url !== this.endpoint)
        return refuse('mismatched_url', `This line does not ask for POST ${this.endpoint}.`, index + 1);
      if (seen.has(customId))
        return refuse('duplicate_custom_id', `The custom_id ${customId} is there twice.`, index + 1);
      seen.add(customId);
      lines.push({ customId, body: line.body });
    }
    if (lines.length === 0) return refuse('empty_file', 'The file has no requests.');
    if (lines.length > batch.requests_max)
      return refuse(
        'too_many_tasks',
        `The file has ${lines.length} requests, more than ${batch.requests_max}.`,
      );
    return lines;
  }

  #serve({ customId, body }: Line): void {
    const { log, options: optionsNow } = this.#parts;
    const options = optionsNow();
    const parsed = parseChatRequest(body);
    if (!parsed.ok) return this.#fail(customId, parsed.error.status, errorBody(parsed.error));
    const call = chatCall(withToolsFromMessages(parsed.request), options);
    const seen = log.arrived('chat', call.key, call.role, call.request.model);
    const isBroken = new Draws(options.seed, 'batch request', call.key, seen.arrival).happens(
      'error',
      options.batch.request_error_rate,
    );
    const error = refusal(call) ?? (isBroken ? serverError(500) : null);
    if (error !== null) {
      const outcome = isBroken && error.status === 500 ? 'server_error' : 'refused';
      log.completed(seen, { outcome, status: error.status, batch: this.id });
      return this.#fail(customId, error.status, errorBody(error));
    }
    const { completion, usage } = answerTo(call, this.#parts);
    log.completed(seen, {
      outcome: outcomeOf(completion),
      status: 200,
      batch: this.id,
      tool_calls: completion.toolCalls.length,
      prompt_tokens: usage.promptTokens,
      cached_tokens: usage.cachedTokens,
      completion_tokens: usage.completionTokens,
    });
    const answer = chatBody(call.key, call.request.model, completion, usage);
    this.#answered += 1;
    this.#output.push(
      resultLine(customId, `{"status_code":200,"request_id":"${call.key}","body":${answer}}`, 'null'),
    );
  }

  #fail(customId: string, status: number, body: string): void {
    const response = `{"status_code":${status},"request_id":"rehearsal","body":${body}}`;
    this.#failed += 1;
    this.#errors.push(resultLine(customId, response, 'null'));
  }

  #expire(left: readonly Line[]): void {
    const error =
      '{"code":"batch_expired","message":"This request could not be executed before the completion window expired."}';
    this.#failed += left.length;
    for (const { customId } of left) this.#errors.push(resultLine(customId, 'null', error));
    this.#end('expired');
  }

  #end(status: BatchStatus): void {
    const { files } = this.#parts;
    if (this.#output.length > 0)
      this.#outputFile = files.add(`${this.id}_output.jsonl`, 'batch_output', this.#output);
    if (this.#errors.length > 0)
      this.#errorFile = files.add(`${this.id}_error.jsonl`, 'batch_output', this.#errors);
    this.#output = [];
    this.#errors = [];
    this.#input = null;
    files.release(this.#inputId);
    this.#status = status;
    this.#endedAtMs = Date.now();
  }

  #draws(): Draws {
    return new Draws(this.#parts.options().seed, 'batch', this.#number);
  }
}

const seconds = (ms: number): number => Math.floor(ms / 1000);

const resultLine = (customId: string, response: string, error: string): Buffer =>
  Buffer.from(
    `{"id":"batch_req_rehearsal","custom_id":${JSON.stringify(customId)},"response":${response},"error":${error}}\n`,
  );
