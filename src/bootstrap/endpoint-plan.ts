/**
 * The endpoints that a configuration means. Knows no key: keys are given as functions, and on a cluster
 * endpoints are told apart by the names of their keys, so that a node without the keys has the same plan.
 */
import { readSecret } from '../config/credentials.ts';
import type { RestoredConfig } from '../config/restore.ts';
import { maxInFlightOf, modelOf, servedByUs } from '../config/roles.ts';
import type { AgentRole, Config, EndpointConfig } from '../config/schema.ts';
import type { Secret } from '../config/secret.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { StoredConfig } from '../config/stored-config.ts';
import type { Role } from '../dialogue/chat.ts';
import {
  type AgentEntry,
  type EndpointEntry,
  type EndpointPlan,
  planEndpoints,
} from '../llm/plan-endpoints.ts';
import { noKey, type RevealKey } from '../llm/settings.ts';
import type { EndpointSpec } from '../ports/model.ts';

export interface PlanKeys {
  role(role: Role): RevealKey;
  variable(name: string): RevealKey;
  /** The key that stands in the configuration itself; `place` is where, without its `.api_key`. */
  inline(place: string, endpoint: EndpointConfig): { reveal(): string } | null;
}

export interface EndpointPlanInput {
  readonly config: Config;
  readonly roles: readonly AgentRole[];
  /** Where the rehearsal listens, for its backend; null for any other. */
  readonly rehearsalUrl: string | null;
  readonly keys: PlanKeys;
}

/** @throws DlgforgeError `config` for addresses that cannot be used. */
export function endpointPlan({ config, roles, rehearsalUrl, keys }: EndpointPlanInput): EndpointPlan {
  const entries = (place: string, listed: readonly EndpointConfig[]): EndpointEntry[] =>
    listed.map((endpoint, index) => ({
      ...endpoint,
      base_url:
        config.llm.backend === 'vllm_attach' ? withVersion(endpoint.base_url.trim()) : endpoint.base_url,
      max_in_flight: maxInFlightOf(config, endpoint),
      api_key: keys.inline(`${place}.${index}`, endpoint),
    }));
  /** In a rehearsal every role goes to the rehearsal server, whatever else the configuration says of it. */
  const agentEntry = (role: Role): AgentEntry => {
    const agent = config.llm.agents[role];
    if (rehearsalUrl !== null) {
      const { model } = config.llm.rehearsal;
      const address = { provider: 'rehearsal', model, base_url: `${rehearsalUrl}/v1` };
      return { ...agent, ...address, routing: { endpoints: null } };
    }
    const own = agent.routing.endpoints;
    const endpoints = own === null ? null : entries(`llm.agents.${role}.routing.endpoints`, own);
    return { ...agent, model: modelOf(config, role), routing: { endpoints } };
  };
  const plan = planEndpoints({
    agents: { user: agentEntry('user'), assistant: agentEntry('assistant'), judge: agentEntry('judge') },
    endpoints: rehearsalUrl === null ? entries('llm.routing.endpoints', config.llm.routing.endpoints) : [],
    activeRoles: roles,
    // The servers that we start are endpoints of the run, like those that a person adds.
    servedLater:
      config.llm.backend === 'vllm_managed' ? roles.filter((role) => servedByUs(config, role)) : [],
    maxInFlight: maxInFlightOf(config, null),
    roleKey: (role) => (rehearsalUrl === null ? keys.role(role) : noKey),
    variable: (name) => keys.variable(name),
  });
  // The rehearsal has another port in every process; it stays one endpoint in the books.
  if (rehearsalUrl === null) return plan;
  return { ...plan, endpoints: plan.endpoints.map((endpoint) => ({ ...endpoint, name: 'rehearsal' })) };
}

/** vLLM answers below /v1 alone, and 0.1.0 looked for it there too, whether or not the address said so. */
const withVersion = (address: string): string =>
  /^https?:\/\/[^/?#]+\/*$/i.test(address) ? `${address.replace(/\/+$/, '')}/v1` : address;

/** For a process that has the configuration as it was written: one server with one key is one endpoint. */
export const ownKeys = (
  { environment }: Pick<LoadedConfig, 'environment'>,
  keys: Readonly<Record<AgentRole, Secret | null>>,
): PlanKeys => ({
  role: (role) => () => keys[role]?.reveal() ?? null,
  variable: (name) => () => readSecret(environment, name)?.reveal() ?? null,
  inline: (_place, { api_key: key }) => key,
});

/** For any node: keys are told apart by where they come from, which is the same on every node. */
export function nodePlan(
  restored: RestoredConfig,
  stored: StoredConfig,
  rehearsalUrl: string | null,
): EndpointPlan {
  const found = new Map<string, RevealKey>();
  const named = (name: string, key: RevealKey): RevealKey => {
    found.set(name, key);
    return () => name;
  };
  const own = ownKeys(restored, restored.keys);
  const inline = new Set(stored.withheld.map((place) => place.join('.')));
  const plan = endpointPlan({
    ...restored,
    rehearsalUrl,
    keys: {
      role: (role) => named(`key of ${stored.keyVariables[role] ?? 'nobody'}`, own.role(role)),
      variable: (name) => named(`key of ${name}`, own.variable(name)),
      inline(place, endpoint) {
        if (!inline.has(`${place}.api_key`)) return null;
        return { reveal: named(`key at ${place}`, () => endpoint.api_key?.reveal() ?? null) as () => string };
      },
    },
  });
  const keyOf = (name: string | null): RevealKey => (name === null ? noKey : (found.get(name) ?? noKey));
  return {
    ...plan,
    endpoints: plan.endpoints.map((endpoint) => ({ ...endpoint, key: keyOf(endpoint.key()) })),
  };
}

/**
 * What the router needs of a plan. Runs that ask the same model of the same server share its limit;
 * a rehearsal is a run's own.
 */
export function endpointSpecs(plan: EndpointPlan, rehearsalOf: string | null): EndpointSpec[] {
  return plan.endpoints.map((endpoint) => {
    const { name, provider, roles, weight, maxInFlight, baseUrl, model, isDraining = false } = endpoint;
    const models = model === null ? roles.map((role) => plan.roles[role].model) : [model];
    const served = `${withoutUser(baseUrl)} ${[...new Set(models)].sort().join(' ')}`;
    const isRehearsal = rehearsalOf !== null && provider === 'rehearsal';
    const identity = isRehearsal ? `rehearsal of ${rehearsalOf}` : served;
    return { name, identity, roles, weight, maxInFlight, isDraining };
  });
}

/** The user information and the query of an address may hold a key (I8). */
function withoutUser(baseUrl: string): string {
  const { origin, pathname } = new URL(baseUrl);
  return `${origin}${pathname.replace(/\/+$/, '')}`;
}
