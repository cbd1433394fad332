import type { AgentRole, Config, EndpointConfig } from './schema.ts';

/** What the configuration means for each role; the model layer plans its endpoints by the same rules. */

export type RoleCommand = 'run' | 'judge';

/** Whether `run` judges what it generates. */
export const judgesOnline = ({ judge }: Config): boolean => judge.enabled && judge.mode === 'online';

/** The roles that a command lets a model play. `judge` judges whatever `judge.mode` says: it is how `offline` is judged. */
export function rolesFor(config: Config, command: RoleCommand): readonly AgentRole[] {
  if (command === 'judge') return ['judge'];
  return judgesOnline(config) ? ['user', 'assistant', 'judge'] : ['user', 'assistant'];
}

/** Conversations to generate in each language. */
export const samplesPerLanguage = ({ run }: Config): number =>
  run.total_samples > 0 ? run.total_samples : run.batch_size;

/** Names under which people run any OpenAI-compatible server; other names mean a service of its own. */
const GENERIC_PROVIDERS: ReadonlySet<string> = new Set(['', 'openai', 'vllm', 'hosted_vllm']);

/** False for a role that names a service of its own: shared endpoints serve it only when they list it. */
export const joinsSharedEndpoints = (config: Config, role: AgentRole): boolean =>
  GENERIC_PROVIDERS.has(config.llm.agents[role].provider.trim().toLowerCase());

/** The listed endpoints that serve a role; none when it goes to its own `base_url` or provider. */
export function endpointsOf(config: Config, role: AgentRole): readonly EndpointConfig[] {
  const own = config.llm.agents[role].routing.endpoints;
  if (own !== null) return own;
  const joins = joinsSharedEndpoints(config, role);
  return config.llm.routing.endpoints.filter(({ roles }) =>
    roles.length === 0 ? joins : roles.includes(role),
  );
}

/** Whether the servers that dlgforge itself runs answer for this role. */
export function servedByUs(config: Config, role: AgentRole): boolean {
  if (config.llm.backend === 'rehearsal') return true;
  return (
    config.llm.backend === 'vllm_managed' &&
    config.llm.agents[role].routing.endpoints === null &&
    joinsSharedEndpoints(config, role)
  );
}

/** The model id that a role asks for; empty when nobody says. */
export function modelOf(config: Config, role: AgentRole): string {
  const { agents, backend, rehearsal, vllm } = config.llm;
  const own = agents[role].model.trim();
  if (own !== '' || !servedByUs(config, role)) return own;
  if (backend === 'rehearsal') return rehearsal.model;
  return vllm.served_model_name.trim() || vllm.model.trim();
}

/** The judge by which verdicts are told apart: its model, or those of the endpoints that serve it under other names. */
export function judgeModelOf(config: Config): string {
  const own = modelOf(config, 'judge');
  if (servedByUs(config, 'judge')) return own;
  const models = endpointsOf(config, 'judge').map(({ model }) => model.trim() || own);
  return [...new Set(models.length === 0 ? [own] : models)].toSorted().join(', ');
}

/** Limit of requests in flight at an endpoint that names none (I7). */
export const maxInFlightOf = (
  { llm }: Config,
  endpoint: Pick<EndpointConfig, 'max_in_flight'> | null,
): number =>
  endpoint?.max_in_flight || (llm.backend.startsWith('vllm_') ? VLLM_MAX_IN_FLIGHT : llm.max_in_flight);

const VLLM_MAX_IN_FLIGHT = 64;
