/**
 * `--metrics-port`: GET /metrics for Prometheus, GET /healthz for probes, nothing else. Loopback unless
 * another address is asked for. Owns its listener; it keeps no process alive.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { EXPOSITION_TYPE, exposition, type ProcessSeries } from './exposition.ts';

export interface MetricsServerOptions {
  /** 0: any free one. */
  readonly port: number;
  /** @default 127.0.0.1 */
  readonly host?: string;
  /** What this process and its workers have to tell now. */
  readonly look: () => Promise<readonly ProcessSeries[]>;
  /** Why this node cannot do its work now; null when it can. @default always null */
  readonly trouble?: () => string | null;
}

export interface MetricsServer {
  readonly port: number;
  /** Idempotent. */
  close(): Promise<void>;
}

const CONNECTIONS_MAX = 32;
const REQUEST_TIMEOUT_MS = 5_000;

/** @throws DlgforgeError `usage` when the port cannot be had. */
export async function startMetricsServer(options: MetricsServerOptions): Promise<MetricsServer> {
  // Loaded when it is asked for: it costs 15 MiB that an idle node without it saves.
  const { createServer } = await import('node:http');
  const answer = answers(options);
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    answer(request, response).catch((error: unknown) => {
      send(response, 500, `${messageOf(error)}\n`);
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  const { host = '127.0.0.1' } = options;
  await listen(server, options.port, host);
  server.unref();
  let closed: Promise<void> | null = null;
  return {
    port: (server.address() as AddressInfo).port,
    close: () => (closed ??= close(server)),
  };
}

type Answer = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

function answers({ look, trouble = () => null }: MetricsServerOptions): Answer {
  /** Whoever asks while somebody else is being answered gets the same answer. */
  let looking: Promise<string> | null = null;
  const metrics = (): Promise<string> =>
    (looking ??= look()
      .then(exposition)
      .finally(() => {
        looking = null;
      }));
  return async (request, response) => {
    const path = request.url?.split('?', 1)[0];
    if (request.method === 'GET' && path === '/metrics')
      return send(response, 200, await metrics(), EXPOSITION_TYPE);
    if (request.method !== 'GET' || path !== '/healthz')
      return send(response, 404, 'GET /metrics or GET /healthz\n');
    const reason = trouble();
    send(response, reason === null ? 200 : 503, `${reason ?? 'ok'}\n`);
  };
}

function send(
  response: ServerResponse,
  status: number,
  body: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'x-content-type-options': 'nosniff',
  });
  response.end(body);
}

async function listen(server: Server, port: number, host: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ port, host, exclusive: true }, resolve);
  try {
    await promise;
  } catch (error) {
    throw new DlgforgeError(
      'usage',
      `the metrics cannot be served at ${host}:${port}: ${messageOf(error)}. Choose another --metrics-port, or 0 for any.`,
      { cause: error },
    );
  } finally {
    server.off('error', reject);
  }
}

async function close(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeAllConnections();
  await promise;
}
