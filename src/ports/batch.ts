/**
 * A provider's batch API: many requests in a file, their answers in another one, up to a day later. What was
 * created is paid for, so whoever uses it records each step, and `find` tells what a crash left unrecorded.
 */
import type { ModelAnswer, ModelRequest, SentForm } from '../dialogue/chat.ts';

/** How the requests of one file are written; kept with the batch, because what is learned later changes it. */
export interface BatchForm extends Pick<SentForm, 'url' | 'format' | 'maxTokensField'> {
  /** The model id that the server is asked for. */
  readonly model: string;
}

export interface BatchLine {
  /** One request as a line of the file, with its line end. */
  readonly bytes: Uint8Array;
  /** Of the request's body; see `SentForm`. */
  readonly bodyHash: string;
}

export interface BatchState {
  readonly id: string;
  /** `open`: it may still give answers. `failed`: the provider refused all of it, and nothing was asked. */
  readonly status: 'open' | 'completed' | 'failed' | 'expired' | 'cancelled';
  readonly total: number;
  readonly done: number;
  /** Files with results, answers first. There may be some whatever the end. */
  readonly resultFiles: readonly string[];
  /** What the provider says of a failure; empty when it says nothing. */
  readonly errors: string;
  /** By the provider's clock; null when it does not say. */
  readonly createdAtMs: number | null;
  /** From its creation to its end; 0 while that is not known. */
  readonly tookMs: number;
}

export type BatchResult =
  | {
      readonly type: 'answered';
      readonly customId: string;
      readonly answer: Omit<ModelAnswer, 'latencyMs' | 'sent'>;
    }
  /** It will never be answered; others may. */
  | { readonly type: 'refused'; readonly customId: string; readonly reason: string }
  /** It may be answered in another batch. */
  | { readonly type: 'failed'; readonly customId: string; readonly reason: string }
  /** Nobody's request will be answered until a person acts. */
  | { readonly type: 'unusable'; readonly customId: string; readonly reason: string }
  /** A line that says nothing about any request. */
  | { readonly type: 'unreadable' };

/** What a batch is found by. */
export interface BatchOrder {
  /** Ours, unique; the provider keeps it with the batch. */
  readonly part: string;
  readonly fileId: string;
}

/**
 * One endpoint. Everything but `line` may be called again: nothing is created twice where the provider tells what
 * it has. Troubles that may pass are waited out within the patience.
 * @throws DlgforgeError `cancelled` when `signal` aborts; `credentials` or `endpoint` saying what to do.
 */
export interface BatchPort {
  /** Name of the endpoint. */
  readonly endpoint: string;
  /** In which requests are written from now on. */
  form(): Promise<BatchForm>;
  line(customId: string, request: ModelRequest, form: BatchForm): BatchLine;
  /** Gives the id of the file. */
  upload(name: string, lines: readonly Uint8Array[], signal: AbortSignal): Promise<string>;
  create(order: BatchOrder, signal: AbortSignal): Promise<BatchState>;
  /** The batch of this order, if there is one. */
  find(order: BatchOrder, signal: AbortSignal): Promise<BatchState | null>;
  /** Null when the provider does not know it. */
  retrieve(batchId: string, signal: AbortSignal): Promise<BatchState | null>;
  /** Asks for its end; what is finished stays. */
  cancel(batchId: string, signal: AbortSignal): Promise<void>;
  /** In the order of the file; none when the provider does not know it. */
  results(fileId: string, form: BatchForm, signal: AbortSignal): AsyncIterable<BatchResult>;
  /** As far as the provider lets us; never throws. */
  deleteFile(fileId: string): Promise<void>;
  close(): Promise<void>;
}
