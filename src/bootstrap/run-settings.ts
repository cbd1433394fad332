/** From the configuration to how a run is carried out: nothing here decides what a conversation says. */
import type { Strategy } from '../actors/endpoint-router/choose.ts';
import { samplesPerLanguage } from '../config/roles.ts';
import { AGENT_ROLES, type Config } from '../config/schema.ts';
import type { Role } from '../dialogue/chat.ts';

export interface RunSettings {
  readonly totalSamples: number;
  /** Conversations that are generated side by side. */
  readonly batchSize: number;
  readonly consecutiveDropsMax: number;
  readonly strategy: Strategy;
  readonly roleStrategies: Partial<Record<Role, Strategy>>;
  /** The endpoints are servers of the user's own, which may be away when the run begins. */
  readonly asksFirst: boolean;
  /** How long a call waits for an endpoint that is away. */
  readonly patienceMs: number;
  readonly shutdownGraceMs: number;
}

export function runSettings(config: Config): RunSettings {
  const { run, llm } = config;
  return {
    totalSamples: samplesPerLanguage(config),
    batchSize: run.batch_size,
    consecutiveDropsMax: run.max_consecutive_drops,
    strategy: llm.routing.strategy,
    roleStrategies: roleStrategies(config),
    asksFirst: llm.backend === 'vllm_attach' || llm.backend === 'vllm_managed',
    patienceMs: Math.max(run.endpoint_patience_s, startsOfServersS(config)) * 1000,
    shutdownGraceMs: run.shutdown_grace_s * 1000,
  };
}

const RESTART_PAUSE_S = 30;

/** Servers of ours that are being started again are not away: it is known when there is none to wait for. */
function startsOfServersS({ llm: { backend, vllm } }: Config): number {
  if (backend !== 'vllm_managed') return 0;
  return (vllm.max_restarts + 1) * (vllm.health_timeout_s + RESTART_PAUSE_S);
}

function roleStrategies({ llm }: Config): RunSettings['roleStrategies'] {
  const strategies: Partial<Record<Role, Strategy>> = {};
  for (const role of AGENT_ROLES) {
    const { strategy } = llm.agents[role].routing;
    if (strategy !== null) strategies[role] = strategy;
  }
  return strategies;
}
