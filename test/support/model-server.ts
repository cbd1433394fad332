/** A server that answers like the rehearsal but does not say so: to dlgforge its answers come from a real model. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startRehearsal } from '../../src/llm/rehearsal/server.ts';

export interface ModelServer extends AsyncDisposable {
  /** Ends in `/v1`. */
  readonly url: string;
  readonly requests: number;
}

export async function startModelServer(): Promise<ModelServer> {
  const rehearsal = await startRehearsal({ seed: 3 });
  let requests = 0;
  const server = createServer((request, response) => {
    void (async () => {
      requests += 1;
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const answer = await fetch(`${rehearsal.url}${request.url}`, {
        method: request.method ?? 'GET',
        headers: { 'content-type': 'application/json' },
        ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
      });
      const text = (await answer.text()).replaceAll(
        '"system_fingerprint":"rehearsal"',
        '"system_fingerprint":"fp_1"',
      );
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    get requests() {
      return requests;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rehearsal.close();
    },
  };
}

/** The part of a configuration that asks it for everything. */
export const askingModel = (url: string): object => ({
  backend: 'openai',
  agents: Object.fromEntries(
    ['user', 'assistant', 'judge'].map((role) => [
      role,
      { provider: 'hosted_vllm', model: 'some-model', base_url: url },
    ]),
  ),
});
