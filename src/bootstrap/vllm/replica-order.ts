/** From a configuration to what its model servers are. */
import { isAbsolute, join } from 'node:path';
import type { EndpointShape, WantedReplicas } from '../../actors/vllm/reconcile.ts';
import type { ReplicaOrder } from '../../actors/vllm/vllm-host.ts';
import type { Environment } from '../../config/environment.ts';
import { readSecret } from '../../config/credentials.ts';
import { modelOf, rolesFor, servedByUs } from '../../config/roles.ts';
import type { AgentRole, Config } from '../../config/schema.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { ServerOrder } from '../../ports/server-process.ts';
import { orderHash } from '../../llm/vllm/server-records.ts';
import { vllmArguments } from '../../llm/vllm/vllm-command.ts';
import { isLoopbackHost } from '../cluster/ports.ts';

/** The variable that holds the key of managed servers, as vLLM itself reads it. */
const KEY_VARIABLE = 'VLLM_API_KEY';
const IN_FLIGHT_MIN = 64;

export interface ServerPlace {
  readonly logsDir: string;
  /** Where servers listen. */
  readonly listenHost: string;
  /** By which others reach this machine. */
  readonly ownHost: string;
  /** Relative paths of programs start here; null: as the process has it. */
  readonly folder: string | null;
}

export const servedModel = ({ llm: { vllm } }: Config): string =>
  vllm.served_model_name.trim() || vllm.model.trim();

/** A server may serve more than one, as adapters of it. */
const askedModel = (config: Config, role: AgentRole): string[] =>
  servedByUs(config, role) ? [modelOf(config, role)] : [];

/** Of one server; a fraction of a GPU is a GPU. */
export const gpusPerReplica = ({ llm: { vllm } }: Config): number => Math.ceil(vllm.num_gpus_per_replica);

/** `folder`: as in `ServerPlace`. */
export function wantedReplicas(config: Config, runId: RunId, folder: string | null): WantedReplicas {
  const gpus = gpusPerReplica(config);
  return {
    runId,
    count: config.llm.vllm.replicas,
    gpusPerReplica: gpus,
    orderHash: orderHash({ ...serverOf(config, folder), gpus: someGpus(gpus) }),
  };
}

/** Which ones does not matter to whether a server is the same, how many does. */
const someGpus = (count: number): readonly number[] | null =>
  count === 0 ? null : Array.from({ length: count }, (_, index) => index);

/** What makes two servers the same. */
function serverOf(config: Config, folder: string | null): Pick<ServerOrder, 'program' | 'args' | 'env'> {
  const { vllm } = config.llm;
  return {
    program: serverProgram(config, folder),
    args: vllmArguments({
      model: vllm.model.trim(),
      servedModelName: vllm.served_model_name.trim(),
      tensorParallelSize: vllm.tensor_parallel_size,
      gpuMemoryUtilization: vllm.gpu_memory_utilization,
      maxNumSeqs: vllm.max_num_seqs,
      extraArgs: vllm.extra_args,
    }),
    env: vllm.env,
  };
}

/** What all replicas of a run have in common as endpoints. */
export const endpointShape = (config: Config, roles: readonly AgentRole[]): EndpointShape => ({
  // Each role asks for its own: the served one, unless the configuration names another (H10).
  model: null,
  maxInFlight:
    config.llm.vllm.max_in_flight ?? Math.max(IN_FLIGHT_MIN, Math.floor(config.llm.vllm.max_num_seqs / 2)),
  roles: roles.filter((role) => servedByUs(config, role)),
});

/** The program as this machine finds it. */
export function serverProgram({ llm: { vllm } }: Config, folder: string | null): string {
  const program = vllm.command.trim() || 'vllm';
  const isRelative = program.includes('/') && !isAbsolute(program);
  return isRelative && folder !== null ? join(folder, program) : program;
}

export interface ReplicaOrderInput {
  readonly config: Config;
  readonly environment: Environment;
  readonly runId: RunId;
  readonly index: number;
  readonly place: ServerPlace;
}

export function replicaOrder({ config, environment, runId, index, place }: ReplicaOrderInput): ReplicaOrder {
  const { vllm } = config.llm;
  const key = (): string | null => readSecret(environment, KEY_VARIABLE)?.reveal() ?? null;
  const keep = !vllm.auto_stop_on_exit;
  const host = inUrl(advertisedHost(vllm.advertise_host.trim(), place));
  return {
    server: {
      name: `${runId}/${index}`,
      ...serverOf(config, place.folder),
      address: { host: place.listenHost, portStart: vllm.port_start },
      logPath: join(place.logsDir, `vllm-${index}.log`),
      keep,
    },
    gpuCount: gpusPerReplica(config),
    models: [
      ...new Set([
        servedModel(config),
        ...rolesFor(config, 'run').flatMap((role) => askedModel(config, role)),
      ]),
    ],
    key,
    keyVariable: key() === null ? null : KEY_VARIABLE,
    limits: {
      healthTimeoutMs: vllm.health_timeout_s * 1000,
      noProgressMs: vllm.no_progress_timeout_s * 1000,
      maxRestarts: vllm.max_restarts,
    },
    baseUrl: (port) => `http://${host}:${port}/v1`,
  };
}

/**
 * Of a replica's own node (H9). An old configuration names 127.0.0.1 for all replicas: that is meant for one
 * machine, and counts only where the node is reached that way.
 */
function advertisedHost(named: string, { listenHost, ownHost }: ServerPlace): string {
  if (named !== '' && (!isLoopbackHost(named) || isLoopbackHost(ownHost))) return named;
  const isWildcard = listenHost === '' || listenHost === '0.0.0.0' || listenHost === '::';
  return isWildcard ? ownHost : listenHost;
}

const inUrl = (host: string): string => (host.includes(':') && !host.startsWith('[') ? `[${host}]` : host);
