/** What a node of the cluster offers to run model servers, and what its card says of them. */
import { type ReplicaReport, vllmHostRef } from '../../actors/vllm/host-messages.ts';
import type { ReplicaOrder } from '../../actors/vllm/vllm-host.ts';
import type { Environment } from '../../config/environment.ts';
import { loadConfig } from '../../config/load.ts';
import { restoreConfig } from '../../config/restore.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { ClusterNode } from '../cluster/join.ts';
import { readSpec } from '../cluster/run-spec.ts';
import { serverProcesses, spawnHost } from './host.ts';
import type { FoundGpus } from '../../actors/vllm/host-report.ts';
import { offeredGpus } from './offered-gpus.ts';
import { ownHostOf } from './own-host.ts';
import { replicaOrder } from './replica-order.ts';
import { shownReplicas } from './shown-replicas.ts';

export interface NodeServersOptions {
  readonly node: ClusterNode;
  readonly environment: Environment;
  /** GPUs that it offers; null: what nvidia-smi finds. */
  readonly gpus: number | null;
  /** Where servers of this machine are written down. */
  readonly serversDir: string;
  readonly logsDir: string;
  /** A configuration whose own keys count here; null: the environment alone. */
  readonly configPath: string | null;
}

export interface NodeServers {
  /** For the node's card. */
  status(): Readonly<Record<string, unknown>>;
  /** Replicas of runs that are not on any more are stopped. */
  runsOn(runs: readonly RunId[]): void;
  /** Nothing more is started here. */
  leave(): void;
  /** Stops them, or leaves those that are to be kept. */
  stop(): Promise<void>;
}

export async function startNodeServers(options: NodeServersOptions): Promise<NodeServers> {
  const { node, environment } = options;
  const { system, logger } = node;
  const secrets = new Set<string>();
  const gpus = offeredGpus(environment, options.gpus);
  const ownHost = await ownHostOf(node.address);
  let replicas: readonly ReplicaReport[] = [];
  let offered: FoundGpus = await gpus();
  const host = spawnHost({
    system,
    node: node.name,
    environment,
    processes: serverProcesses({
      stateDir: options.serversDir,
      environment,
      secrets: () => [...secrets],
      logger,
    }),
    async gpus() {
      offered = await gpus();
      return offered;
    },
    orderOf: (id, index) => orderOf(options, id, index, ownHost, secrets),
    onChange: (views) => {
      replicas = views;
    },
  });
  return {
    status: () => ({
      gpus: offered.gpus.length,
      gpusUsed: new Set(replicas.flatMap((replica) => replica.gpus)).size,
      ...(replicas.length === 0 ? {} : { replicas: shownReplicas(replicas) }),
    }),
    runsOn: (runs) => system.tell(vllmHostRef(node.name), { type: 'RunsOn', runs }),
    leave: () => system.tell(vllmHostRef(node.name), { type: 'Leave' }),
    stop: () => system.stopActor(host),
  };
}

/** What the store says of the run, with what is secret filled in from here (I8, I10). */
async function orderOf(
  { node, environment, logsDir, configPath }: NodeServersOptions,
  runId: RunId,
  index: number,
  ownHost: string,
  secrets: Set<string>,
): Promise<ReplicaOrder> {
  const spec = readSpec(runId, await node.store.runSpec(runId));
  const own = configPath === null ? null : loadConfig({ configPath, env: environment }).config;
  const restored = restoreConfig(spec.config, environment, own);
  const { config, lacks } = restored;
  for (const secret of restored.secrets) secrets.add(secret);
  if (config.llm.backend !== 'vllm_managed' || index >= config.llm.vllm.replicas) {
    throw new DlgforgeError('refused', `The run ${runId} has no replica ${index}.`);
  }
  if (lacks.servers.length > 0) {
    throw new DlgforgeError(
      'credentials',
      `This node lacks what the servers of the run need: ${lacks.servers.join(', ')}. Put it into its environment and start it again.`,
    );
  }
  return replicaOrder({
    config,
    environment: restored.environment,
    runId,
    index,
    place: { logsDir, listenHost: config.llm.vllm.host.trim(), ownHost, folder: null },
  });
}
