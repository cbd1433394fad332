/** Answers to the questions of a pass by model calls, one by one, under the limits that every call obeys (I7). */
import type { ModelCalls } from '../endpoint-router/model-calls.ts';
import type { VerdictAnswers } from './run-judge-pass.ts';

export interface LiveAnswersOptions {
  readonly calls: Pick<ModelCalls, 'call'>;
  /** What the judge's endpoints take at the same time. */
  readonly maxInFlight: number;
  /** Aborts when no further request may be sent; one that is under way may finish. */
  readonly admission: AbortSignal;
  /** Aborts requests that are under way. */
  readonly signal: AbortSignal;
}

/** Units beyond the requests in flight: they read and write the store meanwhile. */
const AHEAD = 8;
const WINDOW_MAX = 1_024;

export function liveAnswers({ calls, maxInFlight, admission, signal }: LiveAnswersOptions): VerdictAnswers {
  let asked = 0;
  return {
    window: Math.min(WINDOW_MAX, maxInFlight + AHEAD),
    ask(question) {
      asked += 1;
      return calls.call(question.asked.request, {
        conversation: question.unit.conversation.conversationId,
        priority: asked,
        signal,
        admission,
      });
    },
  };
}
