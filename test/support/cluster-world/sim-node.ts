/** One process of a simulated cluster, put together as `bootstrap/cluster/join.ts` does it for a real one. */
import { joinMembership, type JoinedMembership } from '../../../src/actors/cluster/membership.ts';
import { createActorSystem } from '../../../src/actors/runtime/actor-system.ts';
import type { ActorSystem } from '../../../src/actors/runtime/types.ts';
import type { Clock } from '../../../src/kernel/clock.ts';
import type { Logger } from '../../../src/kernel/logger.ts';
import type { NodeKind } from '../../../src/ports/membership.ts';
import { CLUSTER_HOST, type HolderInfo, type Store } from '../../../src/ports/store.ts';
import type { Transport, TransportEndpoint } from '../../../src/ports/transport.ts';
import type { WorkQueue } from '../../../src/ports/work-queue.ts';
import type { Body } from './body.ts';
import type { Dice } from './dice.ts';
import type { SimPort } from './model-server.ts';
import type { StoreLink } from './store-link.ts';

export interface NodeParts {
  readonly body: Body;
  readonly kind: NodeKind;
  readonly parent: string | null;
  readonly transport: Transport;
  readonly link: StoreLink;
  readonly queue: WorkQueue;
  readonly port: SimPort;
  readonly dice: Dice;
  readonly logger: Logger;
}

export interface SimNode {
  readonly name: string;
  readonly body: Body;
  readonly clock: Clock;
  readonly system: ActorSystem;
  readonly membership: JoinedMembership;
  readonly store: Store;
  readonly queue: WorkQueue;
  readonly port: SimPort;
  readonly dice: Dice;
  readonly logger: Logger;
  readonly holder: HolderInfo;
  /** Leaves: others hear of it at once. */
  leave(): Promise<void>;
}

export async function startNode(parts: NodeParts): Promise<SimNode> {
  const { body, kind, parent, transport, logger, link } = parts;
  const { clock, name } = body;
  let endpoint: TransportEndpoint | null = null;
  const system = await createActorSystem({
    node: name,
    logger,
    clock,
    transport: {
      async attach(node, receive) {
        endpoint = await transport.attach(node, receive);
        return endpoint;
      },
    },
  });
  if (endpoint === null) throw new Error(`${name} is not attached`);
  const nowMs = clock.now();
  const membership = joinMembership({
    endpoint,
    card: {
      node: name,
      kind,
      parent,
      host: 'simulated',
      pid: 1,
      startedAtMs: nowMs,
      protocol: 1,
      build: '1.0.0',
      labels: {},
      leads: [],
      status: {},
    },
    clock,
    logger,
  });
  return {
    ...parts,
    name,
    clock,
    system,
    membership,
    store: link.store,
    holder: { host: CLUSTER_HOST, pid: 1, processKey: name, command: 'simulated', sinceMs: nowMs },
    async leave() {
      membership.leave();
      await system.stop();
      link.close();
    },
  };
}

/** Runs `look` now and every `everyMs` of the process's time; the returned function ends it. */
export function repeatedly(clock: Clock, everyMs: number, look: () => void): () => void {
  let cancel = (): void => undefined;
  const again = (): void => {
    cancel = clock.schedule(everyMs, again);
    look();
  };
  again();
  return () => cancel();
}
