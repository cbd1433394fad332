/** Provides the models of a run: the endpoints of the configuration, or the built-in rehearsal. */
import type { LoadedConfig } from '../config/load.ts';
import type { AgentRole, Config } from '../config/schema.ts';
import type { Secret } from '../config/secret.ts';
import type { Logger } from '../kernel/logger.ts';
import { createModelPort, type OpenAiModelPort } from '../llm/openai-model.ts';
import type { EndpointPlan } from '../llm/plan-endpoints.ts';
import { startRehearsal } from '../llm/rehearsal/server.ts';
import type { CapabilityMemory } from '../ports/model.ts';
import { attachedPort } from './attached-port.ts';
import { endpointPlan, ownKeys } from './endpoint-plan.ts';

export { secretsOf } from '../config/secrets-of.ts';

export interface BackendOptions {
  readonly loaded: Pick<LoadedConfig, 'config' | 'environment'>;
  readonly roles: readonly AgentRole[];
  readonly keys: Readonly<Record<AgentRole, Secret | null>>;
  readonly capabilities: CapabilityMemory;
  readonly logger: Logger;
}

/** Plans the endpoints of a run, given where its rehearsal listens. */
export type PlanOf = (rehearsalUrl: string | null) => EndpointPlan;

export interface Backend {
  readonly port: OpenAiModelPort;
  /** As configured; what a run has changed since is in its store. */
  readonly plan: EndpointPlan;
  close(): Promise<void>;
}

/** @throws DlgforgeError `config` for addresses that cannot be used, `endpoint` when a server cannot be started. */
export function openBackend(options: BackendOptions): Promise<Backend> {
  const { loaded, roles, keys } = options;
  const { config } = loaded;
  return openPlanned(options, (rehearsalUrl) =>
    endpointPlan({ config, roles, rehearsalUrl, keys: ownKeys(loaded, keys) }),
  );
}

/**
 * The same for endpoints that are planned otherwise. Every process has a rehearsal server of its own: its
 * answers are a function of seed, model and prompt alone, so it does not matter which of them answers. Faults
 * that are drawn by how often a request has come, latencies, and `capacity` are counted by each for itself.
 */
export async function openPlanned(
  { loaded: { config }, capabilities, logger }: Pick<BackendOptions, 'loaded' | 'capabilities' | 'logger'>,
  planOf: PlanOf,
): Promise<Backend> {
  const rehearsal =
    config.llm.backend === 'rehearsal' ? await startRehearsal(rehearsalOptions(config)) : null;
  try {
    const plan = planOf(rehearsal?.url ?? null);
    const { endpoints, roles, notes } = plan;
    for (const note of notes) logger.log('info', 'llm', `[llm] ${note}`);
    const opened = createModelPort({ endpoints, roles, capabilities, logger });
    const port = config.llm.backend === 'vllm_attach' ? attachedPort(opened, plan) : opened;
    return {
      port,
      plan,
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

function rehearsalOptions(config: Config) {
  const { tokens_per_second: tokensPerSecond, latency, ...knobs } = config.llm.rehearsal;
  return { ...knobs, latency: { ...latency }, tokens_per_second: tokensPerSecond ?? 0 };
}
