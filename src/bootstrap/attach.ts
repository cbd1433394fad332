/** `llm.backend: vllm_attach`: the listed servers are asked before anything is spent (H7, H15). */
import type { Role } from '../dialogue/chat.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type { EndpointHealth, EndpointSpec, ModelPort } from '../ports/model.ts';

const TIMEOUT_MS = 10_000;

/**
 * Says which endpoints cannot be used, one line each, and goes on without them while every role has one. They
 * stay listed, are sent nothing (`attachedPort`), and join when they can be used.
 * @throws DlgforgeError `endpoint` when a role has none.
 */
export async function checkAttached(
  port: Pick<ModelPort, 'endpoints' | 'check'>,
  roles: readonly Role[],
  logger: Logger,
): Promise<void> {
  const checked = await Promise.all(
    port.endpoints.map(async (endpoint) => ({
      endpoint,
      health: await port.check(endpoint.name, AbortSignal.timeout(TIMEOUT_MS), { mayPay: false }),
    })),
  );
  const sick = checked.flatMap(({ endpoint, health }) =>
    health.type === 'unhealthy' ? [sickLine(endpoint, health)] : [],
  );
  const served = checked.flatMap(({ endpoint, health }) => rolesServed(endpoint, health));
  const unserved = roles.filter((role) => !served.includes(role));
  if (unserved.length > 0) {
    throw new DlgforgeError(
      'endpoint',
      [
        'One or more vLLM endpoints are unhealthy:',
        ...sick.map((line) => `  ${line}`),
        `Nobody serves: ${unserved.join(', ')}. Start the servers or correct llm.routing.endpoints.`,
      ].join('\n'),
    );
  }
  for (const line of sick) logger.log('warn', 'llm', `[llm] going on without ${line}`);
}

type Unhealthy = Extract<EndpointHealth, { readonly type: 'unhealthy' }>;

function rolesServed({ roles }: EndpointSpec, health: EndpointHealth): readonly Role[] {
  if (health.type !== 'unhealthy') return roles;
  return health.roles === undefined ? [] : roles.filter((role) => health.roles?.includes(role) === false);
}

/** A server may answer with a page: what it says is cut to one line. */
function sickLine({ name }: EndpointSpec, { reason, hint, roles }: Unhealthy): string {
  const forWhom = roles === undefined ? '' : ` (for ${roles.join(', ')})`;
  const said = `${reason} ${hint}`.replace(/\s+/gu, ' ');
  return `${name}${forWhom}: ${said.startsWith(`${name} `) ? said.slice(name.length + 1) : said}`;
}
