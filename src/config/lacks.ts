/** What a node's environment lacks for a run, in words for `cluster status`. */
import { readSecret, serperKey, wantedKeyVariable } from './credentials.ts';
import type { Environment } from './environment.ts';
import { type ConfigPlace, maskedText } from './masking.ts';
import { isLoopback } from './provider-keys.ts';
import { endpointsOf, servedByUs } from './roles.ts';
import type { AgentRole, Config } from './schema.ts';
import { endpointKeyVariable, endpointWithKey, isOwnConnection } from './secret-at.ts';
import type { StoredConfig } from './stored-config.ts';

export interface Lacks {
  /** With anything here a node takes no conversations of the run. */
  readonly work: readonly string[];
  /** With anything here a node does not search by itself; other nodes do it for it. */
  readonly knowledge: readonly string[];
  /** With anything here a node starts no model servers of the run. */
  readonly servers: readonly string[];
}

export interface LacksInput {
  readonly config: Config;
  readonly environment: Environment;
  readonly roles: readonly AgentRole[];
  readonly stored: StoredConfig;
  /** Places of secrets that stood in the submitter's configuration and were not found here. */
  readonly missing: readonly ConfigPlace[];
}

export function lacksOf(input: LacksInput): Lacks {
  const missing = input.missing.map((place) => ({
    part: partOf(place, input),
    text: withheldText(place, input),
  }));
  const of = (part: Part): string[] => missing.filter((found) => found.part === part).map(({ text }) => text);
  const withheld = of('work');
  // An inline key that is not here says more of the same.
  const named = endpointKeys(input).filter(
    (text) => !withheld.some((longer) => longer.startsWith(`${text} (`)),
  );
  return {
    work: [...roleKeys(input), ...named, ...searchKey(input), ...withheld],
    knowledge: [...knowledgeKeys(input), ...of('knowledge')],
    servers: of('servers'),
  };
}

type Part = 'work' | 'knowledge' | 'servers' | 'none';

/** What cannot be done without the secret at this place. */
function partOf(place: ConfigPlace, { config, roles }: LacksInput): Part {
  if (isOwnConnection(place)) return 'none';
  const path = place.join('.');
  if (path.startsWith('llm.vllm.')) return config.llm.backend === 'vllm_managed' ? 'servers' : 'none';
  if (path.startsWith('llm.agents.')) return usesAgent(config, roles, place) ? 'work' : 'none';
  if (path.startsWith('llm.routing.')) {
    const endpoint = config.llm.routing.endpoints[Number(place[3])];
    const isUsed = roles.some(
      (role) => !servedByUs(config, role) && endpointsOf(config, role).some((listed) => listed === endpoint),
    );
    return isUsed ? 'work' : 'none';
  }
  if (path.startsWith('tools.retrieval.')) return 'knowledge';
  return path.startsWith('saving.') || path.startsWith('store.') || path.startsWith('run.distributed.')
    ? 'none'
    : 'work';
}

const usesAgent = (config: Config, roles: readonly AgentRole[], place: ConfigPlace): boolean =>
  roles.some((role) => role === place[2] && !servedByUs(config, role));

const ELSEWHERE = 'stands in the configuration of the submitter, which keeps it';

function withheldText(place: ConfigPlace, { stored }: LacksInput): string {
  const endpoint = endpointWithKey(stored.values, place);
  if (endpoint === null) return `${place.join('.')} (${ELSEWHERE})`;
  const variable = endpointKeyVariable(endpoint);
  const shown = endpoint.name || maskedText(endpoint.base_url);
  return variable === null
    ? `the key of the endpoint ${shown} (it ${ELSEWHERE}; put it into a variable and name that with api_key_env)`
    : `${variable} for the endpoint ${shown} (its key ${ELSEWHERE})`;
}

function roleKeys({ config, environment, roles }: LacksInput): string[] {
  return roles.flatMap((role) => {
    const wanted = wantedKeyVariable(config, environment, role);
    return wanted === null || readSecret(environment, wanted) !== null ? [] : [`${wanted} for the ${role}`];
  });
}

function endpointKeys({ config, environment, roles }: LacksInput): string[] {
  const endpoints = new Set(
    roles.filter((role) => !servedByUs(config, role)).flatMap((role) => endpointsOf(config, role)),
  );
  return [...endpoints].flatMap(({ name, base_url: url, api_key: inline, api_key_env: named }) => {
    const variable = named.trim();
    const isNeeded = inline === null && variable !== '' && !isLoopback(url);
    if (!isNeeded || readSecret(environment, variable) !== null) return [];
    return [`${variable} for the endpoint ${name || maskedText(url)}`];
  });
}

function searchKey({ config, environment, stored }: LacksInput): string[] {
  const isNeeded = config.tools.web_search.enabled && stored.hasSearchKey;
  return isNeeded && serperKey(environment) === null ? ['SERPER_API_KEY for web search'] : [];
}

function knowledgeKeys({ config, environment }: LacksInput): string[] {
  const { embeddings, reranker } = config.tools.retrieval;
  const services = [
    { what: 'embeddings', used: embeddings.backend !== 'none', variable: embeddings.api_key_env.trim() },
    { what: 'reranker', used: reranker.enabled, variable: reranker.api_key_env.trim() },
  ];
  return services.flatMap(({ what, used, variable }) =>
    used && variable !== '' && readSecret(environment, variable) === null
      ? [`${variable} for the ${what}`]
      : [],
  );
}
