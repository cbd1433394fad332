import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a test needs to see of a request. */
export interface SeenRequest {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  // biome-ignore lint: a request body is whatever the client sent
  readonly body: Readonly<Record<string, unknown>>;
  readonly number: number;
}

export interface ChatServer {
  /** Ends in `/v1`. */
  readonly url: string;
  readonly requests: readonly SeenRequest[];
  /** The most requests that were in work at the same time. */
  readonly mostInFlight: () => number;
  readonly close: () => Promise<void>;
}

export type Answer = (request: SeenRequest, response: ServerResponse) => void | Promise<void>;

/** A real HTTP server on loopback whose answers the test writes. */
export async function startChatServer(answer: Answer): Promise<ChatServer> {
  const requests: SeenRequest[] = [];
  let inFlight = 0;
  let most = 0;
  const server = createServer((request, response) => {
    inFlight += 1;
    most = Math.max(most, inFlight);
    response.once('close', () => {
      inFlight -= 1;
    });
    let text = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    request.on('end', () => {
      const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
      const seen: SeenRequest = {
        path: request.url ?? '',
        headers: request.headers,
        body,
        number: requests.length,
      };
      requests.push(seen);
      void answer(seen, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    mostInFlight: () => most,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

/** A chat completion as OpenAI writes it. */
export const completion = (
  content: unknown = '{"ok":true}',
  extra: Record<string, unknown> = {},
): Record<string, unknown> => ({
  id: 'c1',
  object: 'chat.completion',
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content } }],
  usage: {
    prompt_tokens: 10,
    completion_tokens: 4,
    total_tokens: 14,
    prompt_tokens_details: { cached_tokens: 8 },
  },
  ...extra,
});

export const apiError = (message: string, fields: Record<string, unknown> = {}): Record<string, unknown> => ({
  error: { message, type: 'invalid_request_error', param: null, code: null, ...fields },
});
