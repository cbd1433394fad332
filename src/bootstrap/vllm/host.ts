/** The host of model servers in this process. */
import type { HostMessage, ReplicaReport } from '../../actors/vllm/host-messages.ts';
import { VLLM_HOST_PATH } from '../../actors/vllm/host-messages.ts';
import { vllmHost, type VllmHostOptions } from '../../actors/vllm/vllm-host.ts';
import type { ActorRef, ActorSystem } from '../../actors/runtime/types.ts';
import type { Environment } from '../../config/environment.ts';
import { allowedServerPrograms, serverEnvironment } from '../../config/server-environment.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import { serverProbe } from '../../llm/vllm/server-probe.ts';
import { vllmProcesses } from '../../llm/vllm/server-processes.ts';
import type { ServerProcesses } from '../../ports/server-process.ts';
import type { FoundGpus } from '../../actors/vllm/host-report.ts';

export interface ServerProcessesOptions {
  /** Where servers of this machine are written down. */
  readonly stateDir: string;
  readonly environment: Environment;
  /** Everything secret that is known here: servers get none of it, and it is shown nowhere (I8). */
  readonly secrets: () => readonly string[];
  readonly logger: Logger;
}

export const serverProcesses = ({
  stateDir,
  environment,
  secrets,
  logger,
}: ServerProcessesOptions): ServerProcesses =>
  vllmProcesses({
    stateDir,
    logger,
    secrets,
    get environment() {
      return serverEnvironment(environment, secrets());
    },
  });

/** @throws DlgforgeError `refused` when DLGFORGE_VLLM_COMMANDS does not list it. */
export function allowProgram(environment: Environment, program: string): void {
  const allowed = allowedServerPrograms(environment);
  if (allowed === null || allowed.includes(program)) return;
  throw new DlgforgeError(
    'refused',
    `This node does not start ${program}: its DLGFORGE_VLLM_COMMANDS lists ${allowed.join(', ') || 'nothing'}. Add it there, or correct llm.vllm.command.`,
  );
}

export interface HostOptions {
  readonly system: ActorSystem;
  readonly node: string;
  readonly environment: Environment;
  readonly processes: ServerProcesses;
  readonly gpus: () => Promise<FoundGpus>;
  readonly orderOf: VllmHostOptions['orderOf'];
  readonly onChange?: (replicas: readonly ReplicaReport[]) => void;
}

export const spawnHost = ({ system, environment, ...options }: HostOptions): ActorRef<HostMessage> =>
  system.spawn<HostMessage>(
    VLLM_HOST_PATH,
    vllmHost({
      ...options,
      probe: serverProbe,
      allows: (program) => allowProgram(environment, program),
    }) as never,
  );
