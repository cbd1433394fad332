import { messageOf } from '../kernel/errors.ts';
import type { AttemptOutcome } from '../ports/model.ts';
import { HttpFailure } from './http-client.ts';
import { readServerError, retryAfterMs, type ServerError } from './server-error.ts';

export type FailedAttempt = Exclude<AttemptOutcome, { readonly type: 'answered' | 'elsewhere' }>;

/** Out of credit comes as 429 from some providers; waiting does not help. */
const OUT_OF_CREDIT = /insufficient_quota|billing_hard_limit|insufficient_balance|credit_balance/;
const BAD_KEY = /invalid_api_key|api_key_invalid|authentication_error|incorrect api key|api key not valid/i;
const NO_MODEL = /model_not_found|invalid_model|unknown_model|model_not_exist|model_decommissioned/;
/** The model failed at its format this time; asked again it may not. */
const BAD_GENERATION = /json_validate_failed|tool_use_failed/;
const TOO_LONG =
  /context_length_exceeded|string_above_max_length|maximum context length|context window|too many tokens/i;

/** The `HttpFailure` inside whatever the SDK made of it. */
export function httpFailureOf(error: unknown): HttpFailure | null {
  for (
    let cause: unknown = error, depth = 0;
    cause instanceof Error && depth < 5;
    cause = cause.cause, depth += 1
  ) {
    if (cause instanceof HttpFailure) return cause;
  }
  return null;
}

/** What a refused request means for this one, for later ones, and for the endpoint. */
export function failureOfStatus(failure: HttpFailure, error: ServerError, nowMs: number): FailedAttempt {
  const wait = retryAfterMs(failure.headers, nowMs) ?? error.retryDelayMs;
  return classify(failure.status, error, wait);
}

/** A 2xx whose body is an error, as gateways send it; null when it is none. */
export function failureInBody(bodyText: string, body: unknown): FailedAttempt | null {
  if (body === null || typeof body !== 'object' || !('error' in body) || body.error == null) return null;
  const error = readServerError(bodyText);
  return classify(error.status ?? 502, error, error.retryDelayMs);
}

function classify(status: number, error: ServerError, wait: number | null): FailedAttempt {
  const reason = `HTTP ${status}: ${error.message}`;
  const words = `${error.code} ${error.type}`;
  if (status === 429) {
    if (OUT_OF_CREDIT.test(words))
      return { type: 'unusable', status, reason: `${reason} (add credit, or use another key)` };
    return {
      type: 'retry_later',
      status,
      reason,
      cause: 'rate_limit',
      retryAfterMs: wait,
      rateLimited: true,
    };
  }
  if (status >= 500 || status === 408 || status === 409 || status === 425) {
    const rateLimited = (status === 503 || status === 529) && wait !== null;
    return {
      type: 'retry_later',
      status,
      reason,
      cause: rateLimited ? 'rate_limit' : 'server',
      retryAfterMs: wait,
      rateLimited,
    };
  }
  const hint = unusableHint(status, error, words);
  if (hint !== null) return { type: 'unusable', status, reason: `${reason} (${hint})` };
  if (BAD_GENERATION.test(words)) {
    return {
      type: 'retry_later',
      status,
      reason,
      cause: 'unreadable',
      retryAfterMs: wait,
      rateLimited: false,
    };
  }
  const tooLong = TOO_LONG.test(words) || TOO_LONG.test(error.message);
  return {
    type: 'refused',
    status,
    reason: tooLong ? `the prompt is too long for the model: ${reason}` : reason,
  };
}

/** What a person must do before anybody's request can succeed; null when the request alone is at fault. */
function unusableHint(status: number, error: ServerError, words: string): string | null {
  if (status === 401 || (status === 400 && (BAD_KEY.test(words) || BAD_KEY.test(error.message))))
    return 'the key is missing or wrong';
  if (status === 402) return 'the account needs credit';
  if (status === 403) return error.moderated ? null : 'the key may not use this model';
  if (status === 404 || status === 410 || NO_MODEL.test(words)) return 'check the model id and base_url';
  if (status === 405) return 'check base_url; it usually ends in /v1';
  const setting = refusedSetting(error);
  return setting === null ? null : `the model does not take ${setting}; remove it from llm.agents`;
}

/** A sampling setting that the model does not have is refused in every request. */
function refusedSetting(error: ServerError): string | null {
  const refused = /unsupported_parameter|unsupported_value|unknown_parameter/.test(error.code);
  return refused &&
    /^(temperature|top_p|max_tokens|max_completion_tokens|[a-z_]+_penalty|logprobs|seed)$/.test(error.param)
    ? error.param
    : null;
}

/** An attempt that ended without a response. */
export function failureOfConnection(error: unknown, timedOutAfterMs: number | null): FailedAttempt {
  const base = { type: 'retry_later', status: null, retryAfterMs: null, rateLimited: false } as const;
  if (timedOutAfterMs !== null)
    return { ...base, cause: 'timeout', reason: `no answer within ${timedOutAfterMs / 1000} s` };
  return { ...base, cause: 'connection', reason: `connection failed: ${rootMessage(error)}` };
}

/** The innermost cause says it best: `ECONNREFUSED`, not `Connection error.` */
function rootMessage(error: unknown): string {
  let root = error;
  for (let depth = 0; root instanceof Error && root.cause instanceof Error && depth < 8; depth += 1)
    root = root.cause;
  if (root instanceof AggregateError && root.errors.length > 0) root = root.errors[0];
  const message = messageOf(root);
  const code = root instanceof Error && 'code' in root && typeof root.code === 'string' ? root.code : '';
  return (message.includes(code) ? message : `${code} ${message}`).slice(0, 300);
}

/** Servers quote keys in their complaints (I8). */
export function withoutKey(text: string, key: string | null): string {
  return key === null || key.length < 4 ? text : text.replaceAll(key, '***');
}
