import { ROLES, type Role } from '../dialogue/chat.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { checkedUrl, isGenericProvider, providerOfUrl, resolveProvider } from './providers.ts';
import {
  DEFAULT_MAX_IN_FLIGHT,
  type EndpointConfig,
  noKey,
  PROVIDER_MAX_IN_FLIGHT,
  type RevealKey,
  type RoleSettings,
} from './settings.ts';

/** An item of `llm.routing.endpoints`; a text is its address. The names are those of the configuration. */
export interface EndpointEntry {
  readonly name?: string;
  readonly base_url: string;
  readonly api_key?: { reveal(): string } | null;
  readonly api_key_env?: string;
  readonly weight?: number;
  readonly max_in_flight?: number | null;
  /** Seconds. */
  readonly timeout?: number | null;
  /** Seconds; the other name of `timeout`. */
  readonly timeout_s?: number | null;
  readonly model?: string;
  readonly roles?: readonly Role[];
}

type EndpointList = readonly (string | EndpointEntry)[];

/** `llm.agents.<role>` of the configuration. */
export interface AgentEntry {
  readonly provider: string;
  readonly model: string;
  readonly base_url: string;
  readonly temperature: number | null;
  readonly max_tokens: number | null;
  readonly top_p: number | null;
  readonly timeout: number | null;
  readonly max_retries: number | null;
  readonly extra: Readonly<Record<string, unknown>>;
  /** A list of the role's own takes the place of the shared one, for this role only. */
  readonly routing?: { readonly endpoints: EndpointList | null };
}

export interface PlanInput {
  readonly agents: Readonly<Record<Role, AgentEntry>>;
  readonly endpoints: EndpointList;
  /** The roles that this command uses; the others get no endpoint. */
  readonly activeRoles: readonly Role[];
  /** Of these, the roles whose endpoints only come while the run is on. @default none */
  readonly servedLater?: readonly Role[];
  /** For endpoints that name no limit; without it vLLM and providers have limits of their own. */
  readonly maxInFlight?: number;
  /** The provider key of a role, for the role's own address. */
  readonly roleKey: (role: Role) => RevealKey;
  /** The value of a variable named by `api_key_env`. */
  readonly variable: (name: string) => RevealKey;
}

export interface EndpointPlan {
  readonly endpoints: readonly EndpointConfig[];
  /** The roles that this command uses. */
  readonly activeRoles: readonly Role[];
  readonly roles: Readonly<Record<Role, RoleSettings>>;
  /** What a reader of the configuration may not expect, for the log. */
  readonly notes: readonly string[];
}

/**
 * Which endpoints there are, and who uses them. A role is served by its own list, else by the shared
 * endpoints that name it, or that name nobody while the role names no provider of its own, else by
 * the address of its settings. An endpoint never gets a key that was not given for it.
 * @throws DlgforgeError `config` for addresses that are missing or malformed.
 */
export function planEndpoints(input: PlanInput): EndpointPlan {
  const drafts: EndpointConfig[] = [];
  const notes: string[] = [];
  const { activeRoles, servedLater = [] } = input;
  for (const role of ROLES.filter((known) => activeRoles.includes(known) && !servedLater.includes(known))) {
    const listed = listedFor(role, input);
    if (listed.length === 0) drafts.push(ownEndpoint(role, input));
    else for (const entry of listed) drafts.push(listedEndpoint(entry, role, input));
    const keepsOwn =
      listed.length === 0 && input.endpoints.length > 0 && input.agents[role].routing?.endpoints == null;
    if (keepsOwn) notes.push(keepsOwnNote(role, input.agents[role]));
  }
  return {
    endpoints: withUniqueNames(merged(drafts)),
    activeRoles: input.activeRoles,
    roles: roleSettings(input.agents),
    notes,
  };
}

function listedFor(role: Role, input: PlanInput): readonly EndpointEntry[] {
  const own = input.agents[role].routing?.endpoints;
  if (own != null) return own.map(entryOf);
  const joins = isGenericProvider(input.agents[role].provider);
  return input.endpoints
    .map(entryOf)
    .filter(({ roles = [] }) => (roles.length === 0 ? joins : roles.includes(role)));
}

const entryOf = (item: string | EndpointEntry): EndpointEntry =>
  typeof item === 'string' ? { base_url: item } : item;

function listedEndpoint(entry: EndpointEntry, role: Role, input: PlanInput): EndpointConfig {
  const baseUrl = checkedUrl(entry.base_url.trim());
  const timeoutS = entry.timeout ?? entry.timeout_s ?? null;
  return {
    name: entry.name?.trim() || shownUrl(baseUrl),
    provider: providerOfUrl(baseUrl).name,
    baseUrl,
    roles: [role],
    weight: Math.max(entry.weight ?? 1, 1e-6),
    maxInFlight: entry.max_in_flight || input.maxInFlight || DEFAULT_MAX_IN_FLIGHT,
    timeoutMs: timeoutS === null ? null : timeoutS * 1000,
    model: entry.model?.trim() || null,
    key: entryKey(entry, input),
  };
}

/** Only what the entry itself names: the provider key of a role stays at that role's provider. */
function entryKey(entry: EndpointEntry, input: PlanInput): RevealKey {
  const given = entry.api_key;
  if (given != null && given.reveal().trim() !== '') return () => given.reveal().trim();
  const variable = entry.api_key_env?.trim() ?? '';
  return variable === '' ? noKey : input.variable(variable);
}

function ownEndpoint(role: Role, input: PlanInput): EndpointConfig {
  const agent = input.agents[role];
  const { provider, baseUrl } = resolvedFor(role, agent);
  return {
    name: provider.baseUrl === baseUrl ? provider.name : shownUrl(baseUrl),
    provider: provider.name,
    baseUrl,
    roles: [role],
    weight: 1,
    maxInFlight:
      input.maxInFlight ?? (provider.keyVariable === null ? DEFAULT_MAX_IN_FLIGHT : PROVIDER_MAX_IN_FLIGHT),
    timeoutMs: null,
    model: null,
    key: input.roleKey(role),
  };
}

function resolvedFor(role: Role, agent: AgentEntry): ReturnType<typeof resolveProvider> {
  try {
    return resolveProvider(agent.provider, agent.base_url, agent.model);
  } catch (error) {
    if (!(error instanceof DlgforgeError)) throw error;
    throw new DlgforgeError(error.code, `llm.agents.${role}: ${error.message}`, { cause: error });
  }
}

/** One server in two lists is one endpoint: its requests are counted together (I7). */
function merged(drafts: readonly EndpointConfig[]): EndpointConfig[] {
  const byIdentity = new Map<string, EndpointConfig>();
  for (const draft of drafts) {
    const identity = JSON.stringify([draft.baseUrl, draft.provider, draft.model, draft.key()]);
    const known = byIdentity.get(identity);
    byIdentity.set(identity, known === undefined ? draft : union(known, draft));
  }
  return [...byIdentity.values()];
}

const union = (a: EndpointConfig, b: EndpointConfig): EndpointConfig => ({
  ...a,
  roles: [...new Set([...a.roles, ...b.roles])],
  maxInFlight: Math.min(a.maxInFlight, b.maxInFlight),
});

function withUniqueNames(endpoints: readonly EndpointConfig[]): EndpointConfig[] {
  const taken = new Set<string>();
  return endpoints.map((endpoint) => {
    let name = endpoint.name;
    for (let number = 2; taken.has(name); number += 1) name = `${endpoint.name}#${number}`;
    taken.add(name);
    return { ...endpoint, name };
  });
}

type Sampling = Omit<AgentEntry, 'base_url' | 'routing'>;

export function roleSettings(agents: Readonly<Record<Role, Sampling>>): Record<Role, RoleSettings> {
  const of = (agent: Sampling): RoleSettings => ({
    provider: agent.provider.trim(),
    model: agent.model.trim(),
    temperature: agent.temperature,
    maxTokens: agent.max_tokens,
    topP: agent.top_p,
    timeoutMs: agent.timeout === null ? null : agent.timeout * 1000,
    maxRetries: agent.max_retries,
    extra: agent.extra,
  });
  return { user: of(agents.user), assistant: of(agents.assistant), judge: of(agents.judge) };
}

/** An address without the user, password and query that it may carry (I8). */
export function shownUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname === '/' ? '' : pathname}`;
}

const keepsOwnNote = (role: Role, agent: AgentEntry): string =>
  `the ${role} stays at its own provider "${agent.provider}"; to send it to an endpoint of llm.routing.endpoints, name it in that endpoint's \`roles\``;
