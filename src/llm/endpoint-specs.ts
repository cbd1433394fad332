import type { Role } from '../dialogue/chat.ts';
import type { EndpointSpec } from '../ports/model.ts';
import { shownUrl } from './plan-endpoints.ts';
import { providerNamed, wireModel } from './providers.ts';
import type { EndpointConfig, RoleSettings } from './settings.ts';

/**
 * A run's endpoints as the router sees them. The identity is the address, without what it may carry of
 * credentials, and the models. Where a run lists one server twice, under two keys, these are two: each
 * key has a limit of its own.
 */
export function endpointSpecs(
  endpoints: readonly EndpointConfig[],
  settings: Readonly<Record<Role, RoleSettings>>,
): readonly EndpointSpec[] {
  const seen = new Map<string, number>();
  return endpoints.map((endpoint) => {
    const { name, roles, weight, maxInFlight, isDraining = false } = endpoint;
    const shared = identityOf(endpoint, settings);
    const count = (seen.get(shared) ?? 0) + 1;
    seen.set(shared, count);
    const identity = count === 1 ? shared : `${shared} (${count})`;
    return { name, identity, roles, weight, maxInFlight, isDraining };
  });
}

function identityOf(endpoint: EndpointConfig, settings: Readonly<Record<Role, RoleSettings>>): string {
  const provider = providerNamed(endpoint.provider);
  const models = endpoint.roles.map((role) => wireModel(provider, endpoint.model ?? settings[role].model));
  return [shownUrl(endpoint.baseUrl), ...[...new Set(models)].sort()].join(' ').trim();
}
