/** Nodes on a real server, each with a connection of its own that can be cut without a word. */
import type { Transport, TransportEndpoint } from '../../../src/ports/transport.ts';
import type { NatsLink } from '../../../src/transport/nats/connection.ts';
import { type CutProxy, startCutProxy } from '../../support/cut-proxy.ts';
import { freshNamespace, type TestNats } from '../../support/nats-server.ts';
import type { TransportHarness } from './transport-contract.ts';

interface Process {
  readonly link: NatsLink;
  readonly proxy: CutProxy;
  readonly endpoints: Map<string, TransportEndpoint>;
}

export function natsHarness(server: () => TestNats): () => Promise<TransportHarness> {
  return async () => {
    const namespace = freshNamespace();
    const processes: Process[] = [];

    const open = async (): Promise<Transport> => {
      const proxy = await startCutProxy(server().port);
      const link = await server().connect({ namespace, urls: [`nats://127.0.0.1:${proxy.port}`] });
      const endpoints = new Map<string, TransportEndpoint>();
      processes.push({ link, proxy, endpoints });
      return {
        async attach(node, receive) {
          const endpoint = await link.transport.attach(node, receive);
          endpoints.set(node, endpoint);
          return endpoint;
        },
      };
    };

    return {
      open,
      /** The others are told as whoever watches the nodes would tell them. */
      async kill(node) {
        const dead = processes.find(({ endpoints }) => endpoints.has(node));
        dead?.proxy.cut();
        for (const { endpoints } of processes)
          for (const [name, endpoint] of endpoints) if (name !== node) endpoint.declareLost(node);
      },
      async close() {
        for (const { link, proxy } of processes) {
          await link.close();
          await proxy.close();
        }
      },
    };
  };
}
