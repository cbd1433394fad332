/** Stands between a client and the rehearsal, notes every request, and does to some of them what networks do. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ProxiedRequest {
  /** `POST /v1/batches`. */
  readonly call: string;
  /** How often the same call came, this time included. */
  readonly count: number;
}

/**
 * `lose`: carried out, and its answer is lost; `drop`: lost on its way; `halve`: its answer breaks off in
 * the middle.
 */
export type ProxyRule = (
  request: ProxiedRequest,
) =>
  | 'pass'
  | 'lose'
  | 'drop'
  | 'halve'
  | { readonly status: number; readonly body?: string; readonly headers?: Record<string, string> };

export interface BatchProxy extends AsyncDisposable {
  /** Ends in `/v1`. */
  readonly url: string;
  readonly calls: readonly string[];
  rule: ProxyRule;
}

/** Ids in paths are left out of the calls. */
const callOf = (method: string, path: string): string =>
  `${method} ${path.split('?')[0]?.replace(/(file|batch)[-_]rehearsal[-_]\d+/g, '<id>')}`;

export async function startBatchProxy(target: string): Promise<BatchProxy> {
  const calls: string[] = [];
  let rule: ProxyRule = () => 'pass';
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const call = callOf(request.method ?? 'GET', request.url ?? '/');
      calls.push(call);
      const fate = rule({ call, count: calls.filter((each) => each === call).length });
      if (typeof fate === 'object') {
        response.writeHead(fate.status, fate.headers).end(fate.body ?? '{"error":{"message":"as told"}}');
        return;
      }
      if (fate === 'drop') {
        request.socket.resetAndDestroy();
        return;
      }
      const type = request.headers['content-type'];
      const answer = await fetch(`${target}${request.url}`, {
        method: request.method ?? 'GET',
        headers: type === undefined ? {} : { 'content-type': type },
        ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
      });
      const body = Buffer.from(await answer.arrayBuffer());
      if (fate === 'lose') request.socket.resetAndDestroy();
      else if (fate === 'halve') {
        response.writeHead(200, { 'content-length': body.length });
        response.write(body.subarray(0, body.length >> 1), () => request.socket.resetAndDestroy());
      } else response.writeHead(answer.status, { 'content-type': 'application/json' }).end(body);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    calls,
    get rule() {
      return rule;
    },
    set rule(next) {
      rule = next;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
