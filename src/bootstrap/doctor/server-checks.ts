/** Whether this machine, or the cluster, could start the model servers of `llm.backend: vllm_managed`. Starts none. */
import type { Requirements } from '../../config/requirements.ts';
import { messageOf } from '../../kernel/errors.ts';
import { runId } from '../../kernel/ids.ts';
import type { Project } from '../project.ts';
import { localServers, roomHere } from '../vllm/local-replicas.ts';
import { allowProgram } from '../vllm/host.ts';
import { gpusPerReplica, serverProgram, wantedReplicas } from '../vllm/replica-order.ts';
import { lacksRoom } from '../vllm/room.ts';
import { type Check, guarded, ok, problem, warning } from './check.ts';

const NAME = 'servers';

/** Nothing for other backends. */
export function serverChecks(project: Project, requirements: Requirements): Promise<readonly Check[]> {
  if (project.config.llm.backend !== 'vllm_managed') return Promise.resolve([]);
  return guarded(NAME, async () => {
    const { config, loaded, root } = project;
    const servers = localServers(project, requirements);
    const program = serverProgram(config, root);
    /** On a cluster its nodes count, and this machine need not be one of them. */
    const complain = config.run.distributed.enabled ? warning : problem;
    const here = config.run.distributed.enabled ? 'On this machine (the nodes of the cluster count): ' : '';
    const checks: Check[] = [];
    try {
      allowProgram(loaded.environment, program);
      await servers.processes.require(program);
      checks.push(ok(NAME, `${here}${program} is there`));
    } catch (error) {
      checks.push(complain(NAME, `${here}${messageOf(error)}`));
    }
    const report = await roomHere(servers);
    const lack = lacksRoom(wantedReplicas(config, runId(''), root), [report]);
    const count = config.llm.vllm.replicas;
    const each = gpusPerReplica(config);
    const [text = '', ...table] = lack?.message.split('\n') ?? [];
    checks.push(
      lack === null
        ? ok(
            NAME,
            each === 0
              ? `${count} server(s) without GPUs`
              : `${count} server(s) with ${each} GPU(s) each: ${report.gpus.length} GPU(s) here`,
          )
        : complain(NAME, `${here}${text}`, table.join('\n')),
    );
    return checks;
  });
}
