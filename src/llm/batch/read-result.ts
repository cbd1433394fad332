/** What a line of a result file means: read as the answer to a single call is. */
import type { BatchForm, BatchResult } from '../../ports/batch.ts';
import { failureInBody, failureOfStatus } from '../attempt-failure.ts';
import { readCompletion } from '../completion.ts';
import { HttpFailure } from '../http-client.ts';
import { readServerError } from '../server-error.ts';
import type { LearnedForm } from './batch-form.ts';
import type { ResultLine } from './result-lines.ts';

export interface ResultReading {
  /** Name of the endpoint that answered. */
  readonly endpoint: string;
  readonly learned: Pick<LearnedForm, 'learns'>;
  /** Masks the key in what the server says (I8). */
  readonly shown: (text: string) => string;
  readonly nowMs: () => number;
}

type Outcome =
  | Pick<Extract<BatchResult, { readonly type: 'answered' }>, 'type' | 'answer'>
  | { readonly type: 'refused' | 'failed' | 'unusable'; readonly reason: string };

/** @param line null for one that is no result. @param form in which its request was sent. */
export function readResult(line: ResultLine | null, form: BatchForm, reading: ResultReading): BatchResult {
  if (line === null) return { type: 'unreadable' };
  const { custom_id: customId, response, error } = line;
  if (response == null) {
    const reason = [error?.code, error?.message].filter((part) => part != null && part !== '').join(': ');
    return { type: 'failed', customId, reason: reading.shown(reason) || 'there is no answer' };
  }
  return { customId, ...outcomeOf(response.status_code, response.body, form, reading) };
}

function outcomeOf(status: number, body: unknown, form: BatchForm, reading: ResultReading): Outcome {
  const text = JSON.stringify(body) ?? '';
  const said = readServerError(text);
  const isAnswer = status >= 200 && status <= 299;
  const failure = isAnswer
    ? failureInBody(text, body)
    : failureOfStatus(new HttpFailure(status, new Headers(), text), said, reading.nowMs());
  if (failure !== null) {
    const reason = reading.shown(failure.reason);
    if (reading.learned.learns(said, status, form) || failure.type === 'retry_later')
      return { type: 'failed', reason };
    return { type: failure.type, reason };
  }
  const completion = readCompletion(body);
  if (completion.type === 'declined') return { type: 'refused', reason: completion.reason };
  if (completion.type === 'unreadable') return { type: 'failed', reason: completion.reason };
  const { content, toolCalls, finishReason, usage, rehearsal } = completion;
  const { endpoint } = reading;
  const { model } = form;
  return {
    type: 'answered',
    answer: { content, toolCalls, finishReason, usage, endpoint, model, rehearsal, raw: body },
  };
}
