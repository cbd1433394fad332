import { Agent } from 'undici';
import type { ModelRequest, Role } from '../dialogue/chat.ts';
import { type Clock, systemClock } from '../kernel/clock.ts';
import { invariant } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type {
  AttemptOutcome,
  CapabilityMemory,
  EndpointHealth,
  EndpointSpec,
  ModelPort,
} from '../ports/model.ts';
import { checkEndpoint } from './check-endpoint.ts';
import { endpointSpecs } from './endpoint-specs.ts';
import { FormatLearner } from './format-learner.ts';
import { ModelEndpoint } from './model-endpoint.ts';
import type { EndpointConfig, RoleSettings } from './settings.ts';

export interface ModelPortOptions {
  readonly endpoints: readonly EndpointConfig[];
  readonly roles: Readonly<Record<Role, RoleSettings>>;
  readonly capabilities: CapabilityMemory;
  readonly logger: Logger;
  /** @default systemClock */
  readonly clock?: Clock;
}

/** What records call a role whose model is not set (as in 0.1.0). */
const AGENT_KEYS: Readonly<Record<Role, string>> = {
  user: 'qa_generator',
  assistant: 'kb_responder',
  judge: 'qa_judge',
};
/** Above the hard limits, for checks that run beside the work. */
const SPARE_CONNECTIONS = 8;

/** The model port over OpenAI-compatible HTTP. Owns the connections; close it once, at the end. */
export function createModelPort(options: ModelPortOptions): ModelPort {
  return new OpenAiModel(options);
}

class OpenAiModel implements ModelPort {
  readonly endpoints: readonly EndpointSpec[];
  readonly #byName: ReadonlyMap<string, ModelEndpoint>;
  readonly #roles: Readonly<Record<Role, RoleSettings>>;
  readonly #timeoutsMs: Readonly<Record<Role, number>>;
  readonly #logger: Logger;
  readonly #agent: Agent;

  constructor({ endpoints, roles, capabilities, logger, clock = systemClock }: ModelPortOptions) {
    this.endpoints = endpointSpecs(endpoints, roles);
    this.#roles = roles;
    this.#logger = logger;
    this.#agent = createAgent(endpoints);
    const formats = new FormatLearner(capabilities, clock, logger);
    this.#byName = new Map(
      endpoints.map((config) => [config.name, new ModelEndpoint(config, this.#agent, clock, formats)]),
    );
    invariant(this.#byName.size === endpoints.length, 'endpoint names are unique');
    const longest = (role: Role): number => {
      const serving = [...this.#byName.values()].filter(({ config }) => config.roles.includes(role));
      return Math.max(0, ...serving.map((endpoint) => endpoint.timeoutMs(roles[role])));
    };
    this.#timeoutsMs = { user: longest('user'), assistant: longest('assistant'), judge: longest('judge') };
  }

  usedName(role: Role, endpoint?: string): string {
    const settings = this.#roles[role];
    const at = endpoint ?? this.endpoints.find(({ roles }) => roles.includes(role))?.name;
    const model = (at === undefined ? null : this.#byName.get(at)?.config.model) ?? settings.model;
    if (model === '') return AGENT_KEYS[role];
    return settings.provider !== '' && !model.includes('/') ? `${settings.provider}/${model}` : model;
  }

  /** The longest that any endpoint of the role may take. */
  timeoutMs(role: Role): number {
    return this.#timeoutsMs[role];
  }

  maxRetries(role: Role): number | null {
    return this.#roles[role].maxRetries;
  }

  async attempt(endpointName: string, request: ModelRequest, signal: AbortSignal): Promise<AttemptOutcome> {
    const endpoint = this.#endpoint(endpointName);
    const settings = this.#roles[request.role];
    const head = `role=${request.role} endpoint=${endpointName} model=${endpoint.model(settings)}`;
    this.#logger.log(
      'info',
      'llm',
      `[llm] request ${head} messages=${request.messages.length} tools=${request.tools.length}`,
    );
    const outcome = await endpoint.attempt(request, settings, signal);
    this.#logger.log(
      outcome.type === 'answered' ? 'info' : 'warn',
      'llm',
      `[llm] response ${head} ${outcomeFields(outcome)}`,
    );
    return outcome;
  }

  async check(
    endpointName: string,
    signal: AbortSignal,
    { mayPay = true }: { readonly mayPay?: boolean } = {},
  ): Promise<EndpointHealth> {
    const endpoint = this.#endpoint(endpointName);
    const models = new Set(endpoint.config.roles.map((role) => endpoint.model(this.#roles[role])));
    return checkEndpoint(endpoint, [...models], signal, mayPay);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  #endpoint(name: string): ModelEndpoint {
    const endpoint = this.#byName.get(name);
    invariant(endpoint !== undefined, `endpoint ${name} is one of this port`);
    return endpoint;
  }
}

/** As many connections per server as its endpoints may have in flight; deadlines are the attempt's own. */
function createAgent(endpoints: readonly EndpointConfig[]): Agent {
  const perServer = new Map<string, number>();
  for (const { baseUrl, maxInFlight } of endpoints) {
    const { origin } = new URL(baseUrl);
    perServer.set(origin, (perServer.get(origin) ?? 0) + maxInFlight);
  }
  const connections = Math.max(1, ...perServer.values()) + SPARE_CONNECTIONS;
  return new Agent({ connections, headersTimeout: 0, bodyTimeout: 0 });
}

function outcomeFields(outcome: AttemptOutcome): string {
  if (outcome.type !== 'answered')
    return `outcome=${outcome.type} status=${outcome.status ?? 'none'} reason=${outcome.reason}`;
  const { usage, latencyMs, finishReason } = outcome.answer;
  return `latency_ms=${latencyMs} prompt_tokens=${usage.promptTokens} cached_tokens=${usage.cachedTokens} completion_tokens=${usage.completionTokens} finish_reason=${finishReason}`;
}
