import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { serverProbe } from '../../../../src/llm/vllm/server-probe.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
}

const nothing = { isHealthy: false, models: null, load: null };

describe('probe of a server', () => {
  test('asks for health, models and metrics; the key goes to /v1 alone', async () => {
    const asked: string[] = [];
    const url = await serve((request, response) => {
      asked.push(`${request.url} ${request.headers.authorization ?? '-'}`);
      if (request.url === '/v1/models') response.end('{"object":"list","data":[{"id":"a"},{"id":"b"}]}');
      else response.end(request.url === '/metrics' ? 'vllm:num_requests_running 1\n' : '');
    });
    expect(await serverProbe.vitals(url, 'key', 5_000)).toEqual({
      isHealthy: true,
      models: ['a', 'b'],
      load: { running: 1, waiting: 0, tokens: 0, cachedTokens: null },
    });
    expect(asked.toSorted()).toEqual(['/health -', '/metrics -', '/v1/models Bearer key']);
  });

  test.each<[string, RequestListener]>([
    ['errors', (_request, response) => void response.writeHead(503).end('vllm:num_requests_running 1')],
    ['silence', () => undefined],
    ['an answer that does not end', (_request, response) => void response.writeHead(200).write('vllm:')],
    ['a reset', (request) => void request.socket.resetAndDestroy()],
    [
      'another program',
      (_request, response) => void response.writeHead(302, { location: '/' }).end('<html>'),
    ],
  ])('says no to %s, in time', async (_name, listener) => {
    const startMs = performance.now();
    expect(await serverProbe.vitals(await serve(listener), null, 200)).toEqual(nothing);
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });

  test('asks for one token with the key; a refusal is an answer, silence is none', async () => {
    let asked = '';
    const url = await serve((request, response) => {
      request.on('data', (chunk) => (asked += String(chunk)));
      request.on('end', () => {
        asked += ` ${request.method} ${request.url} ${request.headers.authorization ?? '-'}`;
        response.writeHead(400).end('{"error":{}}');
      });
    });
    expect(await serverProbe.answers(url, 'key', 'm', AbortSignal.timeout(5_000))).toBe(true);
    expect(asked).toBe(
      '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]} POST /v1/chat/completions Bearer key',
    );
    const silent = await serve(() => undefined);
    expect(await serverProbe.answers(silent, null, 'm', AbortSignal.timeout(200))).toBe(false);
    const resets = await serve((request) => void request.socket.resetAndDestroy());
    expect(await serverProbe.answers(resets, null, 'm', AbortSignal.timeout(5_000))).toBe(true);
    expect(await serverProbe.answers('http://127.0.0.1:9/v1', null, 'm', AbortSignal.timeout(5_000))).toBe(
      true,
    );
  });

  test('says no where nobody listens, and to models and metrics that are none', async () => {
    expect(await serverProbe.vitals('http://127.0.0.1:9/v1', null, 500)).toEqual(nothing);
    const url = await serve((_request, response) => response.end('{"data":[{"name":1}]}'));
    expect(await serverProbe.vitals(url, null, 5_000)).toEqual({ isHealthy: true, models: null, load: null });
  });
});
