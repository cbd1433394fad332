/** `llm.backend: vllm_attach`: the listed servers are asked before anything is spent (H7, H15). */
import type { Role } from '../dialogue/chat.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type { ModelPort } from '../ports/model.ts';

const TIMEOUT_MS = 10_000;

/**
 * Says which endpoints cannot be used, one line each, and goes on without them while every role has one.
 * @throws DlgforgeError `endpoint` when a role has none.
 */
export async function checkAttached(port: ModelPort, roles: readonly Role[], logger: Logger): Promise<void> {
  const checked = await Promise.all(
    port.endpoints.map(async (endpoint) => ({
      endpoint,
      health: await port.check(endpoint.name, AbortSignal.timeout(TIMEOUT_MS), { mayPay: false }),
    })),
  );
  const sick = checked.flatMap(({ endpoint, health }) =>
    health.type === 'unhealthy' ? [`${endpoint.name}: ${health.reason} ${health.hint}`] : [],
  );
  const served = checked
    .filter(({ health }) => health.type !== 'unhealthy')
    .flatMap(({ endpoint }) => endpoint.roles);
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
