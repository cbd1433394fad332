/** A TCP proxy that can lose an answer (what was asked arrives, what comes back does not), or fall silent. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface LossyProxy {
  readonly port: number;
  /** Cuts the connection instead of passing on the `n`-th answer from now, counted from 1. */
  loseAnswer(n: number): void;
  /** How many answers were lost so far. */
  readonly lost: number;
  /**
   * Every connection dies without a word: nothing passes any more, in either direction or in `answers` alone,
   * and nothing is closed.
   */
  forget(what: 'everything' | 'answers'): void;
  /** Forgets what there is and carries nothing new, until `heal`; what was forgotten stays so. */
  cutOff(): void;
  heal(): void;
  close(): Promise<void>;
}

interface Passage {
  asks: boolean;
  answers: boolean;
}

export async function startLossyProxy(serverSocket: string): Promise<LossyProxy> {
  const sockets = new Set<Socket>();
  const passages = new Set<Passage>();
  let isCut = false;
  let toPass = Number.POSITIVE_INFINITY;
  let lost = 0;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  };
  const proxy = createServer((client) => {
    const server = connect(serverSocket);
    const passage: Passage = { asks: !isCut, answers: !isCut };
    passages.add(passage);
    keep(client);
    keep(server);
    client.on('data', (data) => {
      if (passage.asks) server.write(data);
    });
    client.on('close', () => {
      passages.delete(passage);
      if (passage.asks) server.destroy();
    });
    server.on('close', () => client.destroy());
    server.on('data', (data) => {
      if (!passage.answers) return;
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
  const forget = (what: 'everything' | 'answers'): void => {
    for (const passage of passages) {
      if (what === 'everything') passage.asks = false;
      passage.answers = false;
    }
  };
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return {
    port: (proxy.address() as AddressInfo).port,
    loseAnswer(n) {
      toPass = n;
    },
    forget,
    cutOff() {
      isCut = true;
      forget('everything');
    },
    heal() {
      isCut = false;
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
