import { readSecret } from './credentials.ts';
import type { LoadedConfig } from './load.ts';
import { AGENT_ROLES, type AgentRole } from './schema.ts';
import type { Secret } from './secret.ts';

/** Every secret that the process may use, for the logger to hide (I8). */
export function secretsOf(
  { config, environment }: Pick<LoadedConfig, 'config' | 'environment'>,
  keys: Readonly<Record<AgentRole, Secret | null>>,
): string[] {
  const { embeddings, reranker } = config.tools.retrieval;
  const lists = [config.llm.routing, ...AGENT_ROLES.map((role) => config.llm.agents[role].routing)];
  const endpoints = lists.flatMap(({ endpoints: listed }) => listed ?? []);
  const named = [
    embeddings.api_key_env,
    reranker.api_key_env,
    'SERPER_API_KEY',
    'HF_TOKEN',
    'VLLM_API_KEY',
    'HUGGINGFACE_HUB_TOKEN',
    ...endpoints.map((endpoint) => endpoint.api_key_env),
  ];
  return [
    ...AGENT_ROLES.map((role) => keys[role]?.reveal()),
    ...endpoints.map((endpoint) => endpoint.api_key?.reveal()),
    ...named.map((name) => (name.trim() === '' ? undefined : readSecret(environment, name.trim())?.reveal())),
    config.store.postgres.dsn?.reveal(),
    config.run.distributed.nats_url?.reveal(),
    config.run.distributed.nats_token?.reveal(),
  ].filter((secret) => secret !== undefined && secret !== '') as string[];
}
