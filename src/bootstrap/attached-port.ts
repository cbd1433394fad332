/**
 * The servers of `llm.backend: vllm_attach`: none is sent a request of a role before it has listed the role's model
 * to this process, with its own key. So whatever the check before the run says it goes on without is sent nothing,
 * on no node, until it can be used; that is asked again when the router would try it.
 */
import type { ModelRequest, Role } from '../dialogue/chat.ts';
import type { OpenAiModelPort } from '../llm/openai-model.ts';
import type { EndpointPlan } from '../llm/plan-endpoints.ts';
import type { EndpointConfig } from '../llm/settings.ts';
import type { AttemptOutcome, CheckOptions, EndpointHealth, ModelPort } from '../ports/model.ts';
import { delegating } from './metrics/delegating.ts';

const TIMEOUT_MS = 10_000;
const NOT_SERVED = 404;

/** `plan`: as configured. What a person adds while the run is on was looked at when it was added. */
export function attachedPort(port: OpenAiModelPort, plan: Pick<EndpointPlan, 'endpoints'>): OpenAiModelPort {
  const gate = new Gate(port, plan.endpoints);
  const replaced: Pick<OpenAiModelPort, 'attempt' | 'check' | 'setEndpoints'> = {
    attempt: (endpoint, request, signal) => gate.attempt(endpoint, request, signal),
    check: (endpoint, signal, options) => gate.check(endpoint, signal, options),
    setEndpoints(endpoints) {
      gate.narrow(endpoints);
      port.setEndpoints(endpoints);
    },
  };
  return delegating(port, replaced, () => undefined);
}

class Gate {
  readonly #port: ModelPort;
  readonly #planned: ReadonlyMap<string, EndpointConfig>;
  /** Endpoints that are asked first. */
  #asked: ReadonlySet<string>;
  /** The roles that each was found to serve. */
  readonly #fit = new Map<string, ReadonlySet<Role>>();
  /** One question at a time for each. */
  readonly #asking = new Map<string, Promise<EndpointHealth>>();

  constructor(port: ModelPort, planned: readonly EndpointConfig[]) {
    this.#port = port;
    this.#planned = new Map(planned.map((endpoint) => [endpoint.name, endpoint]));
    this.#asked = new Set(this.#planned.keys());
  }

  /** An endpoint that a person has added may have the name of one that was configured. */
  narrow(endpoints: readonly EndpointConfig[]): void {
    const isPlanned = ({ name, baseUrl, model }: EndpointConfig): boolean => {
      const planned = this.#planned.get(name);
      return planned?.baseUrl === baseUrl && planned.model === model;
    };
    this.#asked = new Set(endpoints.filter(isPlanned).map(({ name }) => name));
  }

  async attempt(name: string, request: ModelRequest, signal: AbortSignal): Promise<AttemptOutcome> {
    const { role } = request;
    const isFit = (): boolean => this.#fit.get(name)?.has(role) === true;
    if (this.#asked.has(name) && !isFit()) {
      const health = await this.#ask(name);
      // Whether one that is away is there again is the router's to find out.
      if (!signal.aborted && health.type === 'unhealthy' && health.isAway !== true && !isFit())
        return {
          type: 'unusable',
          reason: `${health.reason} ${health.hint}`,
          status: health.status ?? NOT_SERVED,
        };
    }
    const outcome = await this.#port.attempt(name, request, signal);
    // It may serve something else by now: it is asked before the next one.
    if (outcome.type === 'unusable') this.#fit.delete(name);
    return outcome;
  }

  async check(name: string, signal: AbortSignal, options: CheckOptions = {}): Promise<EndpointHealth> {
    const health = await this.#port.check(name, signal, options);
    if (options.isReachableOnly === true || !this.#asked.has(name)) return health;
    const found = listing(health);
    this.#fit.set(name, this.#servedRoles(name, found));
    return found;
  }

  #ask(name: string): Promise<EndpointHealth> {
    const under = this.#asking.get(name);
    if (under !== undefined) return under;
    const asking = this.check(name, AbortSignal.timeout(TIMEOUT_MS), { mayPay: false }).finally(() =>
      this.#asking.delete(name),
    );
    this.#asking.set(name, asking);
    return asking;
  }

  #servedRoles(name: string, health: EndpointHealth): ReadonlySet<Role> {
    const roles = this.#port.endpoints.find((endpoint) => endpoint.name === name)?.roles ?? [];
    if (health.type !== 'unhealthy') return new Set(roles);
    return new Set(health.roles === undefined ? [] : roles.filter((role) => !health.roles?.includes(role)));
  }
}

/** A provider that has no such list anywhere is no server of this kind, and is as it was found. */
function listing(health: EndpointHealth): EndpointHealth {
  if (health.type !== 'unproven' || !health.isListMissing) return health;
  return {
    type: 'unhealthy',
    reason: 'it does not list its models at /v1/models, as every vLLM server does.',
    hint: 'Check base_url: it usually ends in /v1.',
  };
}
