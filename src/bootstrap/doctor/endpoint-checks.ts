/** Whether every endpoint answers, takes its key and serves the models that the roles ask for. Pays for nothing. */
import type { Requirements } from '../../config/requirements.ts';
import type { Role } from '../../dialogue/chat.ts';
import type { CapabilityMemory, EndpointHealth, EndpointSpec, ModelPort } from '../../ports/model.ts';
import { openBackend } from '../backend.ts';
import type { Project } from '../project.ts';
import { type Check, guarded, ok, problem, warning } from './check.ts';

const TIMEOUT_MS = 15_000;

/** Nothing is learned here that a run should rely on. */
const forgetful: CapabilityMemory = { load: async () => new Map(), remember: async () => undefined };

export function endpointChecks(
  project: Pick<Project, 'loaded' | 'logger'>,
  requirements: Requirements,
): Promise<readonly Check[]> {
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
      const asked = await Promise.all(port.endpoints.map((endpoint) => ask(port, endpoint, lacking)));
      const served = new Set(asked.flatMap(rolesServed));
      return asked.map((one) => endpointCheck(port, one, served));
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

interface Asked {
  readonly endpoint: EndpointSpec;
  /** Null: it was not asked. */
  readonly health: EndpointHealth | null;
}

async function ask(port: ModelPort, endpoint: EndpointSpec, lacking: ReadonlySet<Role>): Promise<Asked> {
  if (endpoint.roles.some((role) => lacking.has(role))) return { endpoint, health: null };
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  return { endpoint, health: await port.check(endpoint.name, signal, { mayPay: false }) };
}

const rolesServed = ({ endpoint: { roles }, health }: Asked): readonly Role[] =>
  health === null || health.type === 'unhealthy'
    ? roles.filter((role) => health?.roles?.includes(role) === false)
    : roles;

function endpointCheck(
  port: ModelPort,
  { endpoint: { name, roles }, health }: Asked,
  served: ReadonlySet<Role>,
): Check {
  if (health === null) {
    return warning(
      'endpoints',
      `${name} was not asked: the model or the key for ${roles.join(', ')} is missing.`,
    );
  }
  if (health.type === 'unhealthy') {
    const isSpare = (health.roles ?? roles).every((role) => served.has(role));
    return isSpare
      ? warning('endpoints', `${health.reason} The others serve its roles without it.`, health.hint)
      : problem('endpoints', health.reason, health.hint);
  }
  if (health.type === 'unproven') return warning('endpoints', health.reason, health.hint);
  const models = [...new Set(roles.map((role) => port.usedName(role, name)))];
  return ok('endpoints', `${name} answers and serves ${models.join(', ')} (${roles.join(', ')})`);
}
