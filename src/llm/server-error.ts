/** What a server says went wrong, read from the many shapes in which servers say it. */
export interface ServerError {
  readonly message: string;
  /** Lower-case; empty where the server gives none. */
  readonly code: string;
  readonly type: string;
  readonly param: string;
  /** A status inside the body, as gateways put it into a 200. */
  readonly status: number | null;
  /** From a google.rpc.RetryInfo detail. */
  readonly retryDelayMs: number | null;
  /** True when a gateway says that moderation, not the account, is the cause. */
  readonly moderated: boolean;
}

type Fields = Readonly<Record<string, unknown>>;
const MESSAGE_LENGTH = 400;

export function readServerError(bodyText: string): ServerError {
  const body = parsed(bodyText);
  const error = errorObject(body);
  if (error === null) return { ...EMPTY, message: plainMessage(body, bodyText) };
  const details = Array.isArray(error['details']) ? error['details'].filter(isFields) : [];
  const code = error['code'];
  return {
    message: text(error['message']).slice(0, MESSAGE_LENGTH) || plainMessage(body, bodyText),
    code: (typeof code === 'string'
      ? code
      : text(details.map((detail) => text(detail['reason'])).find(Boolean))
    ).toLowerCase(),
    type: text(error['type'] ?? error['status']).toLowerCase(),
    param: text(error['param']),
    status: typeof code === 'number' && code >= 400 ? code : null,
    retryDelayMs: retryDelay(details),
    moderated: isFields(error['metadata']) && Array.isArray(error['metadata']['reasons']),
  };
}

const EMPTY: ServerError = {
  message: '',
  code: '',
  type: '',
  param: '',
  status: null,
  retryDelayMs: null,
  moderated: false,
};

/** `{error: {…}}` of OpenAI, the same in a list (Gemini), or its fields at the top (vLLM). */
function errorObject(body: unknown): Fields | null {
  const outer = Array.isArray(body) ? body[0] : body;
  if (!isFields(outer)) return null;
  if (isFields(outer['error'])) return outer['error'];
  if (typeof outer['error'] === 'string') return { ...outer, message: outer['error'] };
  if (outer['detail'] !== undefined) return validationError(outer['detail']);
  return typeof outer['message'] === 'string' ? outer : null;
}

/** FastAPI: `detail` is a text, or a list of `{loc, msg}`. */
function validationError(detail: unknown): Fields {
  const first = Array.isArray(detail) ? detail[0] : detail;
  if (!isFields(first)) return { message: text(first) };
  const location = Array.isArray(first['loc']) ? first['loc'].filter((part) => part !== 'body') : [];
  return {
    message: text(first['msg'] ?? first['message']),
    param: location.join('.'),
    code: text(first['type']),
  };
}

/** `retryDelay: "34.5s"` of google.rpc.RetryInfo. */
function retryDelay(details: readonly Fields[]): number | null {
  for (const detail of details) {
    const match = /^(\d+(?:\.\d+)?)s$/.exec(text(detail['retryDelay']));
    if (match !== null) return Number(match[1]) * 1000;
  }
  return null;
}

function plainMessage(body: unknown, bodyText: string): string {
  const start = bodyText.trim();
  if (body === undefined && /^<(!doctype|html)/i.test(start)) return 'the server answered with a web page';
  return start.slice(0, MESSAGE_LENGTH) || 'the server gave no reason';
}

function parsed(bodyText: string): unknown {
  try {
    return JSON.parse(bodyText);
  } catch {
    // No JSON is an expected outcome here: the text itself is then the message.
    return undefined;
  }
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const isFields = (value: unknown): value is Fields =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/**
 * The pause that a server asks for, in milliseconds and whatever its size: `retry-after-ms`, or
 * `Retry-After` in seconds or as a date. Null when it asks for none.
 */
export function retryAfterMs(headers: Headers, nowMs: number): number | null {
  const exact = Number.parseFloat(headers.get('retry-after-ms') ?? '');
  if (Number.isFinite(exact)) return Math.max(0, exact);
  const given = headers.get('retry-after')?.trim() ?? '';
  if (/^\d+(\.\d+)?$/.test(given)) return Number(given) * 1000;
  const date = Date.parse(given);
  return Number.isNaN(date) ? null : Math.max(0, date - nowMs);
}
