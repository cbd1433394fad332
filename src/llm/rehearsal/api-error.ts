/** A refusal in the shape that OpenAI-compatible servers use. An expected outcome, not a fault of ours. */
export interface ApiError {
  readonly status: number;
  readonly message: string;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

export const errorBody = (error: ApiError): string =>
  JSON.stringify({
    error: { message: error.message, type: error.type, param: error.param, code: error.code },
  });

export const invalidRequest = (
  message: string,
  param: string | null,
  code: string | null = null,
): ApiError => ({
  status: 400,
  message,
  type: 'invalid_request_error',
  param,
  code,
});

export const unknownModel = (model: string): ApiError => ({
  status: 404,
  message: `The model \`${model}\` does not exist. GET /v1/models lists those that do.`,
  type: 'invalid_request_error',
  param: 'model',
  code: 'model_not_found',
});

export const unknownRoute = (method: string, path: string): ApiError => ({
  status: 404,
  message: `Unknown request URL: ${method} ${path}. Check the path and the method.`,
  type: 'invalid_request_error',
  param: null,
  code: 'unknown_url',
});

export const wrongKey = (given: boolean): ApiError => ({
  status: 401,
  message: given
    ? 'Incorrect API key provided.'
    : 'You did not provide an API key. Send it as a bearer token in the Authorization header.',
  type: 'invalid_request_error',
  param: null,
  code: 'invalid_api_key',
});

export const tooLarge = (limitBytes: number): ApiError => ({
  status: 413,
  message: `The request body is larger than ${limitBytes} bytes. Send less, or raise max_body_bytes.`,
  type: 'invalid_request_error',
  param: null,
  code: 'request_too_large',
});

export const rateLimited = (retryAfterS: number, reason: string): ApiError => ({
  status: 429,
  message: `${reason} Try again in ${retryAfterS}s.`,
  type: 'requests',
  param: null,
  code: 'rate_limit_exceeded',
  headers: { 'retry-after': String(retryAfterS) },
});

export const serverError = (status: number): ApiError => ({
  status,
  message: 'The server had an error while processing your request.',
  type: 'server_error',
  param: null,
  code: null,
});
