/**
 * Which port a server gets. Between our look at a port and the moment at which vLLM listens there pass seconds, so
 * a port is claimed: by a UDP socket of the same number on the loopback, which vLLM does not use. It reaches exactly
 * as far as the port does (over processes and projects, not over network namespaces), and it ends with its process.
 */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { DlgforgeError } from '../../kernel/errors.ts';

export interface PortClaim {
  readonly port: number;
  /** Idempotent. */
  release(): void;
}

const LOOPBACK = '127.0.0.1';
/** Ports that are tried. */
const TRIES = 1_000;

/** The first port from `start` on that nobody claims, nobody listens at, and that is not in `taken`. */
export async function claimFreePort(
  host: string,
  start: number,
  taken: ReadonlySet<number> = new Set(),
): Promise<PortClaim> {
  const end = Math.min(start + TRIES - 1, 65_535);
  for (let port = start; port <= end; port += 1) {
    if (taken.has(port)) continue;
    const claim = await claimPort(port);
    if (claim === null) continue;
    if (await isFree(host, port)) return claim;
    claim.release();
  }
  throw new DlgforgeError(
    'endpoint',
    `No port from ${start} to ${end} is free on ${host} for a vLLM server. Free one, or set llm.vllm.port_start.`,
  );
}

/** Null when somebody else has claimed it. */
export function claimPort(port: number): Promise<PortClaim | null> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4').unref();
    let isOpen = true;
    const release = (): void => {
      if (isOpen) socket.close();
      isOpen = false;
    };
    socket.on('error', () => {
      release();
      resolve(null);
    });
    socket.bind({ port, address: LOOPBACK, exclusive: true }, () => resolve({ port, release }));
  });
}

/** Looked at on the loopback too: some systems let a server listen there beside one that listens everywhere. */
async function isFree(host: string, port: number): Promise<boolean> {
  const hosts = host === LOOPBACK || host === 'localhost' ? [LOOPBACK] : [host, LOOPBACK];
  for (const address of hosts) if (!(await canListen(address, port))) return false;
  return true;
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false);
      else
        reject(
          new DlgforgeError(
            'endpoint',
            `A vLLM server cannot listen on ${host} (${error.message}). Set llm.vllm.host to an address of this machine, or 0.0.0.0.`,
            { cause: error },
          ),
        );
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
