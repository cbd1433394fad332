import { Agent } from 'undici';
import type { ModelRequest, Role } from '../dialogue/chat.ts';
import { type Clock, systemClock } from '../kernel/clock.ts';
import { invariant } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type {
  AttemptOutcome,
  CapabilityMemory,
  CheckOptions,
  EndpointHealth,
  EndpointSpec,
  ModelPort,
} from '../ports/model.ts';
import { checkEndpoint, checkReachable, REACHABLE } from './check-endpoint.ts';
import { endpointSpecs } from './endpoint-specs.ts';
import { FormatLearner } from './format-learner.ts';
import { ModelEndpoint } from './model-endpoint.ts';
import { type EndpointConfig, lackingKey, type RoleSettings } from './settings.ts';

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
/**
 * The router's permits bound the connections (I7); deadlines are the attempt's own. An answer is read whole: what is
 * larger than any answer of a model is none, and is cut off (I9).
 */
const CONNECTIONS = { headersTimeout: 0, bodyTimeout: 0, maxResponseSize: 32 * 1024 * 1024 };

/** A port whose endpoints can be replaced while calls are under way. */
export interface OpenAiModelPort extends ModelPort {
  /**
   * These from now on. What is under way at an endpoint that is gone is finished; what is known about one
   * that stays is kept.
   */
  setEndpoints(endpoints: readonly EndpointConfig[]): void;
}

/** The model port over OpenAI-compatible HTTP. Owns the connections; close it once, at the end. */
export function createModelPort(options: ModelPortOptions): OpenAiModelPort {
  return new OpenAiModel(options);
}

class OpenAiModel implements OpenAiModelPort {
  readonly #roles: Readonly<Record<Role, RoleSettings>>;
  readonly #logger: Logger;
  readonly #agent = new Agent(CONNECTIONS);
  readonly #clock: Clock;
  readonly #formats: FormatLearner;
  /** Also of endpoints that are gone: answers from there may still come. */
  readonly #models = new Map<string, string | null>();
  #endpoints: readonly EndpointSpec[] = [];
  #byName: ReadonlyMap<string, ModelEndpoint> = new Map();
  #timeoutsMs: Readonly<Record<Role, number>> = { user: 0, assistant: 0, judge: 0 };

  constructor({ endpoints, roles, capabilities, logger, clock = systemClock }: ModelPortOptions) {
    this.#roles = roles;
    this.#logger = logger;
    this.#clock = clock;
    this.#formats = new FormatLearner(capabilities, clock, logger);
    this.setEndpoints(endpoints);
  }

  get endpoints(): readonly EndpointSpec[] {
    return this.#endpoints;
  }

  setEndpoints(endpoints: readonly EndpointConfig[]): void {
    this.#byName = new Map(endpoints.map((config) => [config.name, this.#endpointFor(config)]));
    invariant(this.#byName.size === endpoints.length, 'endpoint names are unique');
    for (const { name, model } of endpoints) this.#models.set(name, model);
    this.#endpoints = endpointSpecs(endpoints, this.#roles);
    const longest = (role: Role): number => {
      const serving = [...this.#byName.values()].filter(({ config }) => config.roles.includes(role));
      return Math.max(0, ...serving.map((endpoint) => endpoint.timeoutMs(this.#roles[role])));
    };
    this.#timeoutsMs = { user: longest('user'), assistant: longest('assistant'), judge: longest('judge') };
  }

  usedName(role: Role, endpoint?: string): string {
    const settings = this.#roles[role];
    const at = endpoint ?? this.endpoints.find(({ roles }) => roles.includes(role))?.name;
    const model = (at === undefined ? null : this.#models.get(at)) ?? settings.model;
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
    const endpoint = this.#byName.get(endpointName);
    if (endpoint === undefined) return { type: 'elsewhere', reason: `${endpointName} is not known here` };
    const lacking = lackingKey(endpoint.config);
    if (lacking !== null) return { type: 'unusable', reason: lacking, status: 401 };
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
    { mayPay = true, isReachableOnly = false }: CheckOptions = {},
  ): Promise<EndpointHealth> {
    const endpoint = this.#byName.get(endpointName);
    if (isReachableOnly) return endpoint === undefined ? REACHABLE : checkReachable(endpoint, signal);
    if (endpoint === undefined) {
      const hint = 'It was removed, or is added just now.';
      return { type: 'unhealthy', reason: `${endpointName} is not known here.`, hint };
    }
    const lacking = lackingKey(endpoint.config);
    if (lacking !== null)
      return { type: 'unhealthy', reason: `${lacking}.`, hint: 'Set it on this machine.' };
    const asked = endpoint.config.roles.map((role) => ({ role, model: endpoint.model(this.#roles[role]) }));
    return checkEndpoint(endpoint, asked, signal, mayPay);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  /** The one that is there, when it talks to the same server in the same way: it has learned how. */
  #endpointFor(config: EndpointConfig): ModelEndpoint {
    const known = this.#byName.get(config.name);
    return known !== undefined && isSame(known.config, config)
      ? known
      : new ModelEndpoint(config, {
          agent: this.#agent,
          clock: this.#clock,
          formats: this.#formats,
          logger: this.#logger,
        });
  }
}

const FIXED = ['provider', 'baseUrl', 'model', 'timeoutMs', 'keyVariable'] as const;

const isSame = (a: EndpointConfig, b: EndpointConfig): boolean =>
  FIXED.every((field) => a[field] === b[field]) && a.roles.join() === b.roles.join() && a.key() === b.key();

function outcomeFields(outcome: AttemptOutcome): string {
  if (outcome.type === 'elsewhere') return `outcome=elsewhere reason=${outcome.reason}`;
  if (outcome.type !== 'answered')
    return `outcome=${outcome.type} status=${outcome.status ?? 'none'} reason=${outcome.reason}`;
  const { usage, latencyMs, finishReason } = outcome.answer;
  return `latency_ms=${latencyMs} prompt_tokens=${usage.promptTokens} cached_tokens=${usage.cachedTokens} completion_tokens=${usage.completionTokens} finish_reason=${finishReason}`;
}
