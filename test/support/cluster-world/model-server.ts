/**
 * The model endpoints of a simulated cluster, each with the same model. Owns the requests that are open.
 *
 * A request is open from the moment it is sent until the server has answered it or its connection is
 * closed: by its client, or by the kernel of a process that was killed. One of a process that stands still
 * stays open until it is answered, because nobody closes its connection.
 */
import type { ModelRequest, Role } from '../../../src/dialogue/chat.ts';
import type { Clock } from '../../../src/kernel/clock.ts';
import { DlgforgeError } from '../../../src/kernel/errors.ts';
import { keyed } from '../../../src/dialogue/stored-request.ts';
import type { EndpointPlan } from '../../../src/llm/plan-endpoints.ts';
import type { AttemptOutcome, EndpointSpec, ModelPort } from '../../../src/ports/model.ts';
import { endpointPlanOf } from '../endpoint-plans.ts';
import type { Body } from './body.ts';
import type { Dice } from './dice.ts';
import type { Referee } from './referee.ts';
import { ENDPOINT, scriptedAnswer } from './scripted-model.ts';

export interface ModelServerOptions {
  readonly clock: Clock;
  readonly dice: Dice;
  readonly referee: Referee;
  readonly maxInFlight: number;
  /** How long an answer takes; the longest is met rarely. */
  readonly latencyMs: readonly [min: number, max: number];
  /** Share of the requests that are refused for now. */
  readonly troubleRate: number;
}

/** A port whose endpoints change as those of the real one do. */
export interface SimPort extends ModelPort {
  /** As configured. */
  readonly plan: EndpointPlan;
  setEndpoints(endpoints: EndpointPlan['endpoints']): void;
}

export const specsOf = ({ endpoints }: Pick<EndpointPlan, 'endpoints'>): EndpointSpec[] =>
  endpoints.map(({ name, roles, weight, maxInFlight, isDraining = false }) => ({
    name,
    roles,
    weight,
    maxInFlight,
    isDraining,
  }));

interface Call {
  readonly body: Body;
  readonly endpoint: string;
  close(how: string): void;
}

const ROLES: readonly Role[] = ['user', 'assistant', 'judge'];
const ANSWER_TRAVELS_MS = 1;
const TIMEOUT_MS = 30_000;

export class ModelServer {
  readonly #options: ModelServerOptions;
  readonly #open = new Set<Call>();
  /** When each endpoint was sent something last. */
  readonly lastAskedMs = new Map<string, number>();

  constructor(options: ModelServerOptions) {
    this.#options = options;
  }

  get openCount(): number {
    return this.#open.size;
  }

  portOf(body: Body): SimPort {
    const { maxInFlight } = this.#options;
    const configured = endpointPlanOf([ENDPOINT], ROLES);
    const plan = { ...configured, endpoints: configured.endpoints.map((one) => ({ ...one, maxInFlight })) };
    let endpoints = specsOf(plan);
    return {
      plan,
      get endpoints() {
        return endpoints;
      },
      setEndpoints(changed) {
        endpoints = specsOf({ endpoints: changed });
      },
      usedName: () => 'scripted',
      timeoutMs: () => TIMEOUT_MS,
      maxRetries: () => null,
      attempt: async (endpoint, request, signal) =>
        endpoints.some(({ name }) => name === endpoint)
          ? await this.#serve(body, endpoint, request, signal)
          : { type: 'elsewhere', reason: `${endpoint} is not known here` },
      check: () => Promise.resolve({ type: 'healthy', models: [] }),
      close: () => Promise.resolve(),
    };
  }

  /** The kernel closes what a process had open when it ended. */
  killed(body: Body): void {
    for (const call of this.#open) if (call.body === body) call.close('killed');
  }

  #serve(body: Body, endpoint: string, request: ModelRequest, signal: AbortSignal): Promise<AttemptOutcome> {
    const { clock, dice, referee, latencyMs, troubleRate } = this.#options;
    if (signal.aborted) return Promise.reject(aborted());
    const { requestKey } = keyed(request);
    const takesMs = dice.skewed(...latencyMs);
    const outcome: AttemptOutcome = dice.falls(troubleRate)
      ? trouble(dice)
      : { type: 'answered', answer: scriptedAnswer(request, requestKey) };
    return new Promise((resolve, reject) => {
      const close = (how: string): void => {
        cancel();
        if (this.#open.delete(call)) referee.callEnded(body.name, request, requestKey, how);
      };
      const call = { body, endpoint, close };
      const cancel = clock.schedule(takesMs, () => {
        close(outcome.type);
        body.clock.schedule(ANSWER_TRAVELS_MS, () => resolve(outcome));
      });
      this.#open.add(call);
      this.lastAskedMs.set(endpoint, clock.now());
      const open = [...this.#open].filter((other) => other.endpoint === endpoint).length;
      referee.callStarted(body.name, request, requestKey, open);
      const abort = (): void => {
        close('aborted');
        reject(aborted());
      };
      signal.addEventListener('abort', abort, { once: true });
    });
  }
}

function trouble(dice: Dice): AttemptOutcome {
  const rateLimited = dice.falls(0.5);
  return {
    type: 'retry_later',
    reason: rateLimited ? 'too many requests' : 'overloaded',
    cause: rateLimited ? 'rate_limit' : 'server',
    status: rateLimited ? 429 : 503,
    retryAfterMs: rateLimited ? dice.between(100, 1_500) : null,
    rateLimited,
  };
}

const aborted = (): DlgforgeError => new DlgforgeError('cancelled', 'The request was aborted.');
