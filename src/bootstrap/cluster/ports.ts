/** Ports for servers that are started here. */
import { createServer } from 'node:net';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';

export const isLoopbackHost = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);

/**
 * The port that was asked for; otherwise the first of `usual` that is free; otherwise any free one.
 * @throws DlgforgeError `usage` when the one that was asked for is taken, or the host is none of this machine's.
 */
export async function choosePort(
  host: string,
  wanted: number | undefined,
  usual: readonly number[],
): Promise<number> {
  if (wanted !== undefined && wanted !== 0) return await tryPort(host, wanted, 'must');
  for (const port of usual) {
    if (port > 0 && (await tryPort(host, port, 'may')) !== 0) return port;
  }
  return await tryPort(host, 0, 'must');
}

/** 0 when it may be taken and is. */
async function tryPort(host: string, port: number, need: 'must' | 'may'): Promise<number> {
  try {
    return await listenOnce(host, port);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (need === 'may' && (code === 'EADDRINUSE' || code === 'EACCES')) return 0;
    const next =
      code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND'
        ? 'Give --host an address of this machine'
        : 'Free it, or give another port';
    throw new DlgforgeError('usage', `Nothing can listen on ${host}:${port}: ${messageOf(error)}. ${next}.`, {
      cause: error,
    });
  }
}

function listenOnce(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      const taken = typeof address === 'object' && address !== null ? address.port : port;
      server.close(() => resolve(taken));
    });
  });
}
