/** Small HTTP services: embeddings by hashed words, reranking by shared words, and scripted faults. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const DIMENSION = 64;

/** Bag of words, hashed: texts with common words are near one another. */
export function hashedVector(text: string, dimension = DIMENSION): number[] {
  const vector = Array.from({ length: dimension }, () => 0);
  vector[0] = 0.01;
  for (const word of text.toLowerCase().split(/[^\p{L}\p{N}]+/u)) {
    let hash = 2_166_136_261;
    for (const character of word) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16_777_619) >>> 0;
    const slot = 1 + (hash % (dimension - 1));
    vector[slot] = (vector[slot] ?? 0) + 1;
  }
  return vector;
}

interface Request {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Record<string, unknown>;
}

export interface Service extends AsyncDisposable {
  readonly url: string;
  readonly requests: Request[];
}

export interface Scripted {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body: string;
  /** Sends the headers and then nothing more. */
  readonly stalls?: boolean;
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = '';
  for await (const part of request) text += String(part);
  return JSON.parse(text) as Record<string, unknown>;
}

/** @param script answers of the first requests, before `answer` takes over; `null` passes one on */
export async function serve(
  answer: (request: Request) => unknown,
  script: (Scripted | null)[] = [],
): Promise<Service> {
  const requests: Request[] = [];
  const handle = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const request = { path: incoming.url ?? '', headers: incoming.headers, body: await bodyOf(incoming) };
    requests.push(request);
    const scripted = script.shift() ?? null;
    response.writeHead(scripted?.status ?? 200, { 'content-type': 'application/json', ...scripted?.headers });
    if (scripted?.stalls === true) response.flushHeaders();
    else response.end(scripted?.body ?? JSON.stringify(answer(request)));
  };
  const server = createServer((incoming, response) => void handle(incoming, response));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const embed = ({ body }: Request): unknown => ({
  data: (body['input'] as string[]).map((text, index) => ({ index, embedding: hashedVector(text) })),
});
export const embeddingService = (script: (Scripted | null)[] = []): Promise<Service> => serve(embed, script);

/** Prefers documents with many of the query's words; `top_n` results, best first. */
export const rerank = ({ body }: Request): unknown => {
  const words = String(body['query']).toLowerCase().split(/\s+/);
  const results = (body['documents'] as string[]).map((document, index) => ({
    index,
    relevance_score: words.filter((word) => document.toLowerCase().includes(word)).length,
  }));
  return { results: results.sort((a, b) => b.relevance_score - a.relevance_score) };
};
