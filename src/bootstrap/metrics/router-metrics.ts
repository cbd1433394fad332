/**
 * What there is once in a cluster, told by the node that leads the router: the load of the endpoints, and
 * what waits in the work queue. Everybody could ask for it, but then a sum over the nodes would be wrong.
 */
import type { EndpointStats } from '../../actors/endpoint-router/endpoint-state.ts';
import type { RouterMessage } from '../../actors/endpoint-router/router-messages.ts';
import type { ActorRef, ActorSystem } from '../../actors/runtime/types.ts';
import type { Metrics } from '../../kernel/metrics.ts';
import type { WorkQueue } from '../../ports/work-queue.ts';
import { endpointSource, queueSource } from './sources.ts';

export interface RouterNode {
  readonly system: ActorSystem;
  readonly metrics: Metrics;
  queue(): Promise<WorkQueue>;
}

/** Less than a look waits for a source. */
const ASK_MS = 900;

/** While this node leads the router; the returned function ends it. */
export function tellRouter(node: RouterNode, router: ActorRef<RouterMessage>): () => void {
  const { system, metrics } = node;
  if (!metrics.isOn) return () => undefined;
  const stats = (): Promise<readonly EndpointStats[]> =>
    system.ask<RouterMessage, readonly EndpointStats[]>(
      router,
      (replyTo) => ({ type: 'GetStats', replyTo }),
      { timeoutMs: ASK_MS },
    );
  const ends = [
    metrics.source(endpointSource(stats)),
    metrics.source(queueSource(async () => await (await node.queue()).counts())),
  ];
  return () => {
    for (const end of ends) end();
  };
}
