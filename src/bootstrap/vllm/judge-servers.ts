/** The model servers of `dlgforge judge`: of this process, and for the time of the pass. */
import type { Requirements } from '../../config/requirements.ts';
import { runId } from '../../kernel/ids.ts';
import type { RunEndpoint } from '../../ports/store.ts';
import type { Backend } from '../backend.ts';
import { keysIn, withChanges } from '../endpoint-changes.ts';
import type { Project } from '../project.ts';
import type { RunObserver } from '../run-options.ts';
import { checkLocalServers, localServers, startLocalReplicas } from './local-replicas.ts';

export interface JudgeServers {
  /** Keeps the endpoints of the port at what the servers are; `onChange` hears of every change but the first. */
  follow(backend: Pick<Backend, 'port' | 'plan'>, onChange: () => void): Promise<void>;
  /** Aborts with the reason when none is left. */
  readonly lost: AbortSignal;
  close(): Promise<void>;
}

export interface JudgeServersOptions {
  readonly observer: Pick<RunObserver, 'status'>;
  readonly stop: AbortSignal;
}

/**
 * Null for a backend that starts none. Resolves when a server answers.
 * @throws DlgforgeError `endpoint` when none can.
 */
export async function startJudgeServers(
  project: Project,
  requirements: Pick<Requirements, 'roles' | 'keys'>,
  options: JudgeServersOptions,
): Promise<JudgeServers | null> {
  if (project.config.llm.backend !== 'vllm_managed') return null;
  const servers = localServers(project, requirements);
  await checkLocalServers(servers);
  const replicas = await startLocalReplicas(servers, runId('judge'), options);
  const rows = new Map<string, RunEndpoint>();
  return {
    lost: replicas.lost,
    async follow({ port, plan }, onChange) {
      const apply = (): void =>
        port.setEndpoints(withChanges(plan, [...rows.values()], keysIn(project.loaded)).endpoints);
      let isFollowed = false;
      await replicas.publish({
        read: async () => [...rows.values()],
        async write(row) {
          rows.set(row.name, row);
          apply();
          if (isFollowed) onChange();
        },
      });
      isFollowed = true;
    },
    close: () => replicas.close(),
  };
}
