/**
 * The model servers of a run in one process: this process is their only host. They are started before the run is
 * written down, so that a run whose servers do not start leaves no trace.
 */
import type { RunEnd } from '../../actors/messages.ts';
import { createActorSystem } from '../../actors/runtime/actor-system.ts';
import type { ActorRef, ActorSystem } from '../../actors/runtime/types.ts';
import type { HostMessage, HostReport } from '../../actors/vllm/host-messages.ts';
import {
  type ReplicaController,
  type ReplicaControllerOptions,
  startReplicaController,
} from '../../actors/vllm/replica-controller.ts';
import { THIS_PROCESS } from '../../actors/vllm/reconcile.ts';
import type { Requirements } from '../../config/requirements.ts';
import { secretsOf } from '../../config/secrets-of.ts';
import { systemClock } from '../../kernel/clock.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { type RunId, runId } from '../../kernel/ids.ts';
import type { ServerProcesses } from '../../ports/server-process.ts';
import type { Project } from '../project.ts';
import type { RunObserver } from '../run-options.ts';
import { allowProgram, serverProcesses, spawnHost } from './host.ts';
import { type FoundGpus, hostReport } from '../../actors/vllm/host-report.ts';
import { offeredGpus } from './offered-gpus.ts';
import {
  endpointShape,
  replicaOrder,
  servedModel,
  serverProgram,
  type ServerPlace,
  wantedReplicas,
} from './replica-order.ts';
import { lacksRoom } from './room.ts';

export interface LocalReplicas {
  /** From here on its endpoints are kept there. */
  publish(endpoints: ReplicaControllerOptions['endpoints']): Promise<void>;
  /** Resolves when no server is left and none can be started; never otherwise. */
  readonly noneLeft: Promise<RunEnd>;
  /** Aborts with an error at the same time. */
  readonly lost: AbortSignal;
  /** Stops the servers, or leaves those that are to be kept. */
  close(): Promise<void>;
}

/** What this machine can do for the servers of a project. */
export interface LocalServers {
  readonly project: Project;
  readonly requirements: Pick<Requirements, 'roles' | 'keys'>;
  readonly processes: ServerProcesses;
  readonly gpus: () => Promise<FoundGpus>;
}

export function localServers(
  project: Project,
  requirements: Pick<Requirements, 'roles' | 'keys'>,
): LocalServers {
  const { loaded, folders, logger } = project;
  const secrets = secretsOf(loaded, requirements.keys);
  const { environment } = loaded;
  return {
    project,
    requirements,
    processes: serverProcesses({
      stateDir: folders.state,
      environment,
      secrets: () => secrets,
      logger,
    }),
    gpus: offeredGpus(environment, null),
  };
}

/**
 * Looks whether this machine can run them; starts nothing.
 * @throws DlgforgeError `endpoint` that says what is missing, with what there is.
 */
export async function checkLocalServers(servers: LocalServers): Promise<void> {
  const { project, processes } = servers;
  const { config, loaded, root } = project;
  const program = serverProgram(config, root);
  allowProgram(loaded.environment, program);
  await processes.require(program);
  // What an earlier process has left is no longer there when the servers start.
  await processes.sweep();
  const lack = lacksRoom(wantedReplicas(config, runId(''), root), [await roomHere(servers)]);
  if (lack !== null) throw lack;
}

/** What this machine has for servers. */
export async function roomHere({ processes, gpus }: LocalServers): Promise<HostReport> {
  const [offered, kept] = await Promise.all([gpus(), processes.kept()]);
  return hostReport({ node: 'this machine', isLeaving: false, offered, kept, replicas: [] });
}

/**
 * Resolves when at least one serves; the others join when they are ready.
 * @throws DlgforgeError `endpoint` when none does, with what the servers wrote last; `cancelled`. Nothing of them is
 *   left then.
 */
export async function startLocalReplicas(
  servers: LocalServers,
  id: RunId,
  { observer, stop }: { readonly observer: Pick<RunObserver, 'status'>; readonly stop: AbortSignal },
): Promise<LocalReplicas> {
  const replicas = begin(servers, id);
  try {
    observer.status(`starting ${servers.project.config.llm.vllm.replicas} vLLM server(s)`);
    await replicas.controller.untilServed(stop, (lines) => observer.status(lines.join('; ')));
    if (replicas.reason !== null) throw new DlgforgeError('endpoint', replicas.reason);
    if (stop.aborted)
      throw new DlgforgeError('cancelled', 'Stopped before a vLLM server was ready; nothing was spent.');
    servers.project.logger.log('info', 'llm', `[vllm] ${servedModel(servers.project.config)} is served`);
    observer.status(null);
    return replicas;
  } catch (error) {
    observer.status('stopping the vLLM servers');
    await replicas.close();
    throw error;
  }
}

/** The run is not in the store yet. */
const NOWHERE: ReplicaControllerOptions['endpoints'] = { read: async () => [], write: async () => undefined };

class Replicas implements LocalReplicas {
  readonly controller: ReplicaController;
  readonly noneLeft: Promise<RunEnd>;
  /** Why none is left; null while there is one, or may be. */
  reason: string | null = null;
  readonly #system: ActorSystem;
  readonly #lost = new AbortController();
  #endpoints: ReplicaControllerOptions['endpoints'] = NOWHERE;

  constructor(servers: LocalServers, id: RunId, system: ActorSystem, host: ActorRef<HostMessage>) {
    const { project, requirements } = servers;
    const { config, logger } = project;
    const ended = Promise.withResolvers<RunEnd>();
    this.noneLeft = ended.promise;
    this.#system = system;
    this.controller = startReplicaController({
      messenger: system,
      hosts: () => new Map([[THIS_PROCESS, host]]),
      wanted: wantedReplicas(config, id, project.root),
      endpoint: endpointShape(config, requirements.roles),
      endpoints: {
        read: () => this.#endpoints.read(),
        write: (endpoint) => this.#endpoints.write(endpoint),
      },
      onNoneLeft: async (reason) => {
        this.reason = reason;
        this.#lost.abort(new DlgforgeError('endpoint', reason));
        ended.resolve({ type: 'failed', trouble: { code: 'endpoint', message: reason } });
      },
      clock: systemClock,
      logger,
    });
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async publish(endpoints: ReplicaControllerOptions['endpoints']): Promise<void> {
    this.#endpoints = endpoints;
    await this.controller.round();
  }

  async close(): Promise<void> {
    await this.controller.stop();
    await this.#system.stop();
  }
}

function begin(servers: LocalServers, id: RunId): Replicas {
  const { project, processes, gpus } = servers;
  const { config, loaded, logger } = project;
  const system = createActorSystem({ node: THIS_PROCESS, logger });
  const place = placeOf(project);
  const host = spawnHost({
    system,
    node: THIS_PROCESS,
    environment: loaded.environment,
    processes,
    gpus,
    orderOf: async (run, index) =>
      replicaOrder({ config, environment: loaded.environment, runId: run, index, place }),
  });
  return new Replicas(servers, id, system, host);
}

/** Nobody else asks these servers: unless a person says where they listen, only this machine can reach them. */
function placeOf({ config, loaded, folders, root }: Project): ServerPlace {
  const isSet = (loaded.origins['llm.vllm.host'] ?? 'default') !== 'default';
  return {
    logsDir: folders.logs,
    listenHost: isSet ? config.llm.vllm.host.trim() : '127.0.0.1',
    ownHost: '127.0.0.1',
    folder: root,
  };
}
