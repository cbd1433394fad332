/** A TCP proxy that can lose an answer: what was asked arrives, what comes back does not. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface LossyProxy {
  readonly port: number;
  /** Cuts the connection instead of passing on the `n`-th answer from now, counted from 1. */
  loseAnswer(n: number): void;
  /** How many answers were lost so far. */
  readonly lost: number;
  close(): Promise<void>;
}

export async function startLossyProxy(serverSocket: string): Promise<LossyProxy> {
  const sockets = new Set<Socket>();
  let toPass = Number.POSITIVE_INFINITY;
  let lost = 0;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  };
  const proxy = createServer((client) => {
    const server = connect(serverSocket);
    keep(client);
    keep(server);
    client.on('data', (data) => server.write(data));
    client.on('close', () => server.destroy());
    server.on('close', () => client.destroy());
    server.on('data', (data) => {
      toPass -= 1;
      if (toPass > 0) {
        client.write(data);
        return;
      }
      toPass = Number.POSITIVE_INFINITY;
      lost += 1;
      client.destroy();
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return {
    port: (proxy.address() as AddressInfo).port,
    loseAnswer(n) {
      toPass = n;
    },
    get lost() {
      return lost;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      await once(proxy, 'close');
    },
  };
}
