/**
 * A run over several nodes in one process: each node has its own actor system on a memory transport, and
 * works for itself; the store and the work queue are everybody's. Who leads is what the test says, in the
 * place of the membership that real nodes have.
 */
import { clusterDirectory, runSingleton } from '../../src/actors/directory.ts';
import { createRouterClient, endpointRouter } from '../../src/actors/endpoint-router/actor.ts';
import { createModelCalls } from '../../src/actors/endpoint-router/model-calls.ts';
import type { Outcome } from '../../src/actors/messages.ts';
import { retriever } from '../../src/actors/retriever.ts';
import { createActorSystem } from '../../src/actors/runtime/actor-system.ts';
import type { ActorSystem } from '../../src/actors/runtime/types.ts';
import { type Leader as RunLeader, startLeader } from '../../src/bootstrap/leader.ts';
import { type RunWorker, startRunWorker } from '../../src/bootstrap/run-worker.ts';
import type { DialogueSettings } from '../../src/dialogue/settings.ts';
import { runId } from '../../src/kernel/ids.ts';
import { type Logger, silentLogger } from '../../src/kernel/logger.ts';
import type { Leader, MembershipChange } from '../../src/ports/membership.ts';
import type { Store } from '../../src/ports/store.ts';
import type { WorkConsumer, WorkQueue } from '../../src/ports/work-queue.ts';
import { createMemoryTransport, type MemoryTransport } from '../../src/transport/memory-transport.ts';
import { createMemoryWorkQueue, type MemoryWorkQueue } from '../../src/transport/memory-work-queue.ts';
import { dialogueOf, INPUTS } from './dialogue-context.ts';
import { memoryRetriever, seaPassages } from './memory-retriever.ts';
import { DATASET, hurried, openRun, rehearsalPort, RUN } from './world.ts';

export interface RunClusterOptions {
  readonly store: Store;
  readonly url: string;
  readonly totalSamples?: number;
  readonly batchSize?: number;
  readonly settings?: Partial<DialogueSettings>;
  readonly shutdownGraceMs?: number;
  /** Of each node. */
  readonly maxInFlight?: number;
  readonly logger?: Logger;
}

export interface LeaderNode {
  readonly node: string;
  readonly leader: RunLeader;
  readonly outcome: Promise<Outcome>;
}

export interface RunCluster {
  readonly queue: MemoryWorkQueue;
  readonly transport: MemoryTransport;
  addWorker(node: string, lacks?: readonly string[]): Promise<RunWorker>;
  /** Takes the lease and leads the run there, whoever did before. */
  lead(node: string, fresh?: boolean): Promise<LeaderNode>;
  /** It hears nothing and is heard by nobody; what it does with the store it goes on doing. */
  cutOff(node: string): void;
  kill(node: string): Promise<void>;
  close(): Promise<void>;
}

export async function startRunCluster(options: RunClusterOptions): Promise<RunCluster> {
  const { store, logger = silentLogger } = options;
  await openRun(store);
  const transport = createMemoryTransport({ clock: hurried });
  const queue = createMemoryWorkQueue();
  const dialogue = dialogueOf(options);
  const port = rehearsalPort({ ...options, logger });
  const systems = new Map<string, ActorSystem>();
  const workers = new Set<string>();
  const listeners = new Set<(change: MembershipChange) => void>();
  let leading: Leader | null = null;
  const membership = {
    leaderOf: (name: string) => (name === runSingleton(RUN) ? leading : null),
    contacts: () => 1,
    onChange(listener: (change: MembershipChange) => void) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const setLeader = (next: Leader | null): void => {
    leading = next;
    // Nobody looks at what has changed, only at who leads now.
    for (const listener of listeners) listener({ type: 'leads' } as MembershipChange);
  };

  /** What a node's consumers are in: a server that the node does not reach takes back what it has. */
  const consumers = new Map<string, Set<WorkConsumer>>();
  const queueOf = (node: string): WorkQueue => ({
    ...queue,
    consume(id, capacity, deliver) {
      const consumer = queue.consume(id, capacity, deliver);
      consumers.set(node, (consumers.get(node) ?? new Set()).add(consumer));
      return consumer;
    },
  });

  const systemOf = async (node: string): Promise<ActorSystem> => {
    const system =
      systems.get(node) ?? (await createActorSystem({ node, logger, clock: hurried, transport }));
    systems.set(node, system);
    return system;
  };
  const isolate = (node: string): void => {
    transport.kill(node);
    for (const consumer of consumers.get(node) ?? []) consumer.close();
    consumers.delete(node);
    workers.delete(node);
    if (leading?.node === node) setLeader(null);
  };

  return {
    queue,
    transport,
    async addWorker(node, lacks = []) {
      const system = await systemOf(node);
      const registration = { runId: RUN, endpoints: port.endpoints };
      const router = system.spawn('endpoint-router', endpointRouter({ runs: [registration] }));
      const retrieverRef = system.spawn(
        'retriever',
        retriever({ retriever: memoryRetriever(seaPassages()), parallel: 4, waitingMax: 1_000 }),
      );
      workers.add(node);
      return startRunWorker({
        system,
        store,
        parts: { runId: RUN, dialogue, inputs: INPUTS, webSearch: null, lacks, port },
        modelCalls: createModelCalls({
          router: createRouterClient({ messenger: system, router, runId: RUN, name: node }),
          port,
          clock: hurried,
          logger,
          patienceMs: 20_000,
        }),
        directory: clusterDirectory({ membership, runId: RUN, retriever: () => retrieverRef }),
        queue: queueOf(node),
      });
    },
    async lead(node, fresh = false) {
      const system = await systemOf(node);
      const holder = { host: 'cluster', pid: 1, processKey: node, command: 'test', sinceMs: 0 };
      const granted = await store.acquireLease(`dataset/${DATASET}`, holder, 1_000, () => false);
      if (granted.type !== 'granted') throw new Error('the dataset is held');
      const { lease } = granted;
      const outcome = Promise.withResolvers<Outcome>();
      const leader = startLeader({
        system,
        store,
        lease,
        runId: runId(RUN),
        parts: {
          datasetId: DATASET,
          dialogue,
          totalSamples: options.totalSamples ?? 6,
          batchSize: options.batchSize ?? 8,
          consecutiveDropsMax: 10,
          shutdownGraceMs: options.shutdownGraceMs ?? 5_000,
        },
        queue,
        fresh,
        livingWorkers: () => [...workers],
        wanted: () => store.runWanted(RUN),
        onEnd: outcome.resolve,
      });
      setLeader({ node, epoch: lease.epoch });
      return { node, leader, outcome: outcome.promise };
    },
    cutOff: isolate,
    async kill(node) {
      isolate(node);
      await systems.get(node)?.stop();
      systems.delete(node);
    },
    async close() {
      await Promise.all([...systems.values()].map((system) => system.stop()));
      await port.close();
    },
  };
}
