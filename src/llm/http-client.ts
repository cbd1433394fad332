import OpenAI from 'openai';
import { type Agent, request } from 'undici';
import type { Provider } from './providers.ts';
import type { EndpointConfig } from './settings.ts';

/** A response that is no success, with everything that it says. */
export class HttpFailure extends Error {
  override readonly name = 'HttpFailure';
  readonly status: number;
  readonly headers: Headers;
  readonly bodyText: string;

  constructor(status: number, headers: Headers, bodyText: string) {
    super(`HTTP ${status}`);
    this.status = status;
    this.headers = headers;
    this.bodyText = bodyText;
  }
}

/** The largest time-out that a timer takes; the attempt has a deadline of its own, the SDK needs none. */
const NO_SDK_TIMEOUT_MS = 2 ** 31 - 1;
const USER_AGENT = 'dlgforge';

/**
 * The SDK for one endpoint. It never retries, never waits and holds no secret: headers are set here,
 * so that neither the key of another endpoint nor `OPENAI_…` variables of the process can leak into
 * a request. Other statuses than 2xx come back as `HttpFailure` with their body, which the SDK would drop.
 */
export function createClient(endpoint: EndpointConfig, provider: Provider, agent: Agent): OpenAI {
  const headers = requestHeaders(endpoint, provider);
  const send = async (url: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const {
      statusCode,
      headers: received,
      body,
    } = await request(addressOf(url), {
      method: (init.method ?? 'GET') as 'GET' | 'POST',
      headers,
      body: (init.body ?? null) as string | null,
      signal: init.signal ?? null,
      dispatcher: agent,
    });
    const text = await body.text();
    if (statusCode < 200 || statusCode > 299) throw new HttpFailure(statusCode, headersOf(received), text);
    return wholeResponse(statusCode, headersOf(received), text);
  };
  return sdkClient(endpoint, send);
}

/** @param send carries out every request, with its own headers, and throws what is no success. */
export function sdkClient(endpoint: EndpointConfig, send: typeof fetch): OpenAI {
  const { baseURL, query } = splitUrl(endpoint.baseUrl);
  return new OpenAI({
    baseURL,
    defaultQuery: query,
    apiKey: 'set-by-the-endpoint',
    adminAPIKey: null,
    organization: null,
    project: null,
    webhookSecret: null,
    maxRetries: 0,
    timeout: NO_SDK_TIMEOUT_MS,
    logLevel: 'off',
    fetch: send,
  });
}

/**
 * The parts of a response that the SDK and its caller look at. `fetch` with its streams costs three times the
 * processor time of `request`, and an answer is only ever read whole.
 */
function wholeResponse(status: number, headers: Headers, text: string): Response {
  const response: Pick<
    Response,
    'ok' | 'status' | 'statusText' | 'url' | 'headers' | 'body' | 'text' | 'json'
  > = {
    ok: true,
    status,
    statusText: '',
    url: '',
    headers,
    body: null,
    text: () => Promise.resolve(text),
    json: () => Promise.resolve(JSON.parse(text)),
  };
  return response as Response;
}

export function headersOf(received: Readonly<Record<string, string | string[] | undefined>>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(received)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }
  return headers;
}

export function addressOf(target: string | URL | Request): string {
  if (typeof target === 'string') return target;
  return target instanceof URL ? target.href : target.url;
}

/** With the key, so never to be logged (I8). */
export function requestHeaders(endpoint: EndpointConfig, provider: Provider): Record<string, string> {
  const headers: Record<string, string> = {
    accept: 'application/json',
    'content-type': 'application/json',
    'user-agent': USER_AGENT,
  };
  const key = endpoint.key();
  if (key !== null && key !== '') {
    headers['authorization'] = `Bearer ${key}`;
    if (provider.keyHeader !== null) headers[provider.keyHeader] = key;
  }
  return headers;
}

/** Azure's older addresses carry `?api-version=…`, which belongs to every request. */
function splitUrl(address: string): { readonly baseURL: string; readonly query: Record<string, string> } {
  const url = new URL(address);
  const query = Object.fromEntries(url.searchParams);
  url.search = '';
  return { baseURL: url.href.replace(/\/+$/, ''), query };
}
