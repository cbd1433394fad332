/** Provides the models of a run: the endpoints of the configuration, or the built-in rehearsal. */
import { readSecret } from '../config/credentials.ts';
import type { LoadedConfig } from '../config/load.ts';
import { maxInFlightOf, modelOf } from '../config/roles.ts';
import type { AgentRole, Config, EndpointConfig } from '../config/schema.ts';
import type { Secret } from '../config/secret.ts';
import { ROLES, type Role } from '../dialogue/chat.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import { createModelPort } from '../llm/openai-model.ts';
import { type AgentEntry, type EndpointEntry, planEndpoints } from '../llm/plan-endpoints.ts';
import { type Rehearsal, startRehearsal } from '../llm/rehearsal/server.ts';
import { noKey, type RevealKey } from '../llm/settings.ts';
import type { CapabilityMemory, ModelPort } from '../ports/model.ts';

export interface BackendOptions {
  readonly loaded: LoadedConfig;
  readonly roles: readonly AgentRole[];
  readonly keys: Readonly<Record<AgentRole, Secret | null>>;
  readonly capabilities: CapabilityMemory;
  readonly logger: Logger;
}

export interface Backend {
  readonly port: ModelPort;
  close(): Promise<void>;
}

/** @throws DlgforgeError `config` for addresses that cannot be used, `endpoint` when a server cannot be started. */
export async function openBackend(options: BackendOptions): Promise<Backend> {
  const { loaded, roles, keys, logger } = options;
  const { config, environment } = loaded;
  if (config.llm.backend === 'vllm_managed') {
    throw new DlgforgeError(
      'endpoint',
      'This release does not start vLLM servers itself. Start them with `vllm serve`, list their addresses in llm.routing.endpoints, and set llm.backend: vllm_attach.',
    );
  }
  const rehearsal =
    config.llm.backend === 'rehearsal' ? await startRehearsal(rehearsalOptions(config)) : null;
  try {
    const plan = planEndpoints({
      agents: Object.fromEntries(ROLES.map((role) => [role, agentEntry(config, role, rehearsal)])) as Record<
        Role,
        AgentEntry
      >,
      endpoints:
        rehearsal === null
          ? config.llm.routing.endpoints.map((endpoint) => endpointEntry(config, endpoint))
          : [],
      activeRoles: roles,
      maxInFlight: maxInFlightOf(config, null),
      roleKey: (role): RevealKey => (rehearsal === null ? () => keys[role]?.reveal() ?? null : noKey),
      variable:
        (name): RevealKey =>
        () =>
          readSecret(environment, name)?.reveal() ?? null,
    });
    for (const note of plan.notes) logger.log('info', 'llm', `[llm] ${note}`);
    const { capabilities } = options;
    // The rehearsal has another port in every process; it stays one endpoint in the books.
    const endpoints =
      rehearsal === null
        ? plan.endpoints
        : plan.endpoints.map((endpoint) => ({ ...endpoint, name: 'rehearsal' }));
    const port = createModelPort({ endpoints, roles: plan.roles, capabilities, logger });
    return {
      port,
      async close() {
        await port.close();
        await rehearsal?.close();
      },
    };
  } catch (error) {
    await rehearsal?.close();
    throw error;
  }
}

/** Every secret that the process may use, for the logger to hide (I8). */
export function secretsOf(loaded: LoadedConfig, keys: Readonly<Record<AgentRole, Secret | null>>): string[] {
  const { config, environment } = loaded;
  const { embeddings, reranker } = config.tools.retrieval;
  const endpoints = [config.llm.routing, ...ROLES.map((role) => config.llm.agents[role].routing)].flatMap(
    (routing) => routing.endpoints ?? [],
  );
  const named = [
    embeddings.api_key_env,
    reranker.api_key_env,
    'SERPER_API_KEY',
    'HF_TOKEN',
    ...endpoints.map((endpoint) => endpoint.api_key_env),
  ];
  return [
    ...ROLES.map((role) => keys[role]?.reveal()),
    ...endpoints.map((endpoint) => endpoint.api_key?.reveal()),
    ...named.map((name) => (name.trim() === '' ? undefined : readSecret(environment, name.trim())?.reveal())),
    config.store.postgres.dsn?.reveal(),
  ].filter((secret) => secret !== undefined && secret !== '') as string[];
}

function rehearsalOptions(config: Config) {
  const { tokens_per_second: tokensPerSecond, latency, ...knobs } = config.llm.rehearsal;
  return { ...knobs, latency: { ...latency }, tokens_per_second: tokensPerSecond ?? 0 };
}

/** In a rehearsal every role goes to the rehearsal server, whatever else the configuration says of it. */
function agentEntry(config: Config, role: Role, rehearsal: Rehearsal | null): AgentEntry {
  const agent = config.llm.agents[role];
  const entry = {
    ...agent,
    model: modelOf(config, role),
    routing: { endpoints: agent.routing.endpoints?.map((e) => endpointEntry(config, e)) ?? null },
  };
  if (rehearsal === null) return entry;
  return {
    ...entry,
    provider: 'rehearsal',
    model: config.llm.rehearsal.model,
    base_url: `${rehearsal.url}/v1`,
    routing: { endpoints: null },
  };
}

function endpointEntry(config: Config, endpoint: EndpointConfig): EndpointEntry {
  return { ...endpoint, max_in_flight: maxInFlightOf(config, endpoint) };
}
