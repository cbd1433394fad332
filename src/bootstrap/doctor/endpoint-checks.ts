/** Whether every endpoint answers, takes its key and serves the models that the roles ask for. Pays for nothing. */
import type { Requirements } from '../../config/requirements.ts';
import type { Role } from '../../dialogue/chat.ts';
import type { CapabilityMemory, EndpointSpec, ModelPort } from '../../ports/model.ts';
import { openBackend } from '../backend.ts';
import type { Project } from '../project.ts';
import { type Check, guarded, ok, problem, warning } from './check.ts';

const TIMEOUT_MS = 15_000;

/** Nothing is learned here that a run should rely on. */
const forgetful: CapabilityMemory = { load: async () => new Map(), remember: async () => undefined };

export function endpointChecks(project: Project, requirements: Requirements): Promise<readonly Check[]> {
  const { roles, keys } = requirements;
  const lacking = rolesThatLack(requirements);
  return guarded('endpoints', async () => {
    const backend = await openBackend({
      loaded: project.loaded,
      roles,
      keys,
      capabilities: forgetful,
      logger: project.logger,
    });
    try {
      const { port } = backend;
      return await Promise.all(port.endpoints.map((endpoint) => endpointCheck(port, endpoint, lacking)));
    } finally {
      await backend.close();
    }
  });
}

/** Roles whose model or key has been reported missing: asking their endpoint would only say it again. */
function rolesThatLack({ roles, problems }: Requirements): ReadonlySet<Role> {
  return new Set(
    roles.filter((role) =>
      problems.some(
        ({ message, keyPath }) =>
          keyPath?.startsWith(`llm.agents.${role}`) || message.includes(`agent \`${role}\``),
      ),
    ),
  );
}

async function endpointCheck(
  port: ModelPort,
  endpoint: EndpointSpec,
  lacking: ReadonlySet<Role>,
): Promise<Check> {
  const { name, roles } = endpoint;
  if (roles.some((role) => lacking.has(role))) {
    return warning(
      'endpoints',
      `${name} was not asked: the model or the key for ${roles.join(', ')} is missing.`,
    );
  }
  const health = await port.check(name, AbortSignal.timeout(TIMEOUT_MS), { mayPay: false });
  if (health.type === 'unhealthy') return problem('endpoints', health.reason, health.hint);
  if (health.type === 'unproven') return warning('endpoints', health.reason, health.hint);
  const models = [...new Set(roles.map((role) => port.usedName(role, name)))];
  return ok('endpoints', `${name} answers and serves ${models.join(', ')} (${roles.join(', ')})`);
}
