import type { ModelAnswer, ModelRequest, Role } from '../../dialogue/chat.ts';
import { type Clock, delay } from '../../kernel/clock.ts';
import { DlgforgeError, unreachable } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { AttemptOutcome, ModelPort } from '../../ports/model.ts';
import { mayBeLostWithServer } from '../vllm/endpoint-name.ts';
import { CallCounters, type CallStats } from './call-stats.ts';
import {
  backoffMs,
  type Effort,
  type Moment,
  patienceError,
  startEffort,
  unusableError,
} from './call-effort.ts';
import type { EndpointStats, PermitOutcome } from './endpoint-state.ts';
import { acquireCancelled, type EndpointRouter, type PermitReply, type RouterRejection } from './router.ts';

export type CallResult =
  | { readonly type: 'answered'; readonly answer: ModelAnswer; readonly retries: number }
  /** This request will not be answered; others may. */
  | { readonly type: 'refused'; readonly reason: string };

export interface CallOptions {
  readonly conversation: string;
  /** Smaller goes first. */
  readonly priority: number;
  readonly signal: AbortSignal;
  /** Aborts when no further request may be sent; one that is under way may finish. @default `signal` */
  readonly admission?: AbortSignal;
  /** Resolves when this call is still the caller's to make; asked before each request. @default it is */
  readonly confirm?: () => Promise<void>;
}

type Granted = Extract<PermitReply, { readonly type: 'granted' }>;

const admissionOf = ({ admission, signal }: CallOptions): AbortSignal => admission ?? signal;

export interface ModelCalls {
  /**
   * One answer, whatever it takes within the patience. No permit is held while it waits.
   * @throws DlgforgeError `endpoint` (retryable) when no endpoint of the role has answered anybody for
   *   the whole patience; `credentials` or `endpoint` when none can be used; `cancelled`.
   */
  call(request: ModelRequest, options: CallOptions): Promise<CallResult>;
  stats(): Promise<CallStats & { readonly endpoints: readonly EndpointStats[] }>;
  /** What the calls of this process came to; asks nobody. */
  counted(): CallStats;
}

export interface ModelCallsOptions {
  readonly router: EndpointRouter;
  readonly port: ModelPort;
  readonly clock: Clock;
  /**
   * How long a role may go without any answer before the run stops. While no router can be asked it stands
   * still, for half an hour at most.
   */
  readonly patienceMs: number;
  readonly logger: Logger;
  /** Why a role waits, where this process knows more than the router: for the error when patience ends. */
  readonly whyWaiting?: (role: Role) => string | null;
  /** Uniform in [0, 1); spreads retries, never decides content. @default Math.random */
  readonly random?: () => number;
}

/** Asking whether an endpoint is there takes no longer: a call waits for the answer. */
const PROBE_TIMEOUT_MS = 5_000;
/** What a permit may outlast the attempt's own time-out, before its holder counts as dead. */
const LEASE_MARGIN_MS = 30_000;
/** The endpoints are not to blame while no router can be asked; for this long at most they are given more time. */
const AWAY_MAX_MS = 1_800_000;
/** After the end of a pause that is longer than the patience, one attempt gets this much time. */
const PROLONGATION_MS = 60_000;
/** Endpoints that are added or removed are known everywhere after about this long. */
const ELSEWHERE_MS = 500;

export function createModelCalls(options: ModelCallsOptions): ModelCalls {
  return new Calls(options);
}

class Calls implements ModelCalls {
  readonly #options: ModelCallsOptions;
  readonly #counters = new CallCounters();
  readonly #lastAnswer = new Map<Role, Moment>();

  constructor(options: ModelCallsOptions) {
    this.#options = options;
  }

  async call(request: ModelRequest, options: CallOptions): Promise<CallResult> {
    const effort = startEffort(this.#moment());
    for (;;) {
      const reply = await this.#acquire(request.role, effort, options);
      const result =
        reply.type === 'granted'
          ? await this.#attempt(reply, request, effort, options)
          : await this.#afterRejection(reply.rejection, request.role, effort, options);
      if (result !== null) return result;
    }
  }

  counted(): CallStats {
    return this.#counters.read();
  }

  async stats(): Promise<CallStats & { readonly endpoints: readonly EndpointStats[] }> {
    return { ...this.#counters.read(), endpoints: await this.#options.router.stats() };
  }

  #acquire(role: Role, effort: Effort, options: CallOptions): Promise<PermitReply> {
    const { conversation, priority } = options;
    const { router, port, clock } = this.#options;
    const waitMs = Math.max(
      effort.prolonged ? PROLONGATION_MS : 0,
      this.#patienceEndsAtMs(role, effort) - clock.now(),
    );
    const leaseMs = port.timeoutMs(role) + LEASE_MARGIN_MS;
    return router.acquire(
      { role, conversation, priority, avoid: effort.avoid, waitMs, leaseMs },
      admissionOf(options),
    );
  }

  /** One request under a permit; null when another is needed. */
  async #attempt(
    { ticket, endpoint, isProbe }: Granted,
    request: ModelRequest,
    effort: Effort,
    options: CallOptions,
  ): Promise<CallResult | null> {
    const { port, router } = this.#options;
    let told: PermitOutcome = { type: 'abandoned' };
    let outcome: AttemptOutcome;
    let using: AbortSignal | null = null;
    try {
      await options.confirm?.();
      using = router.use(ticket, options.signal);
      if (using === null) return null;
      const absent = isProbe === true ? await this.#absent(endpoint, using) : null;
      if (absent !== null) {
        told = { type: 'failed', retryAfterMs: null };
        effort.avoid = endpoint;
        effort.lastReason = absent;
        this.#options.logger.log('info', 'llm', `[llm] nothing was sent to ${endpoint}: ${absent}`);
        return null;
      }
      this.#counters.attempted();
      outcome = await port.attempt(endpoint, request, using);
      told = permitOutcome(outcome);
    } catch (error) {
      if (options.signal.aborted || using?.aborted !== true) throw error;
      this.#warn(`[llm] ${endpoint} is asked again: this node lost contact with the cluster's router (I7)`);
      return null;
    } finally {
      router.release(ticket, told);
    }
    return this.#afterAttempt(outcome, endpoint, request.role, effort, admissionOf(options));
  }

  /** Why an endpoint that may be away is not there; null when it is. Asks for nothing that costs. */
  async #absent(endpoint: string, signal: AbortSignal): Promise<string | null> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
    const health = await this.#options.port.check(endpoint, within, { isReachableOnly: true });
    if (signal.aborted) throw acquireCancelled();
    return health.type === 'unhealthy' ? health.reason : null;
  }

  async #afterAttempt(
    outcome: AttemptOutcome,
    endpoint: string,
    role: Role,
    effort: Effort,
    signal: AbortSignal,
  ): Promise<CallResult | null> {
    switch (outcome.type) {
      case 'answered':
        this.#sawAnswer(role);
        this.#counters.answered(outcome.answer);
        return { type: 'answered', answer: outcome.answer, retries: effort.retries };
      case 'refused':
        this.#sawAnswer(role);
        return this.#refuse(outcome.reason);
      case 'unusable':
        effort.lastReason = `${endpoint}: ${outcome.reason}`;
        this.#warn(`[llm] endpoint ${endpoint} cannot serve the ${role}: ${outcome.reason}`);
        return null;
      case 'elsewhere':
        return this.#goElsewhere(outcome.reason, endpoint, role, effort, signal);
      case 'retry_later':
        return this.#retryLater(outcome, endpoint, role, effort, signal);
      default:
        return unreachable(outcome);
    }
  }

  /** Nothing was sent, so nothing counts; the pause is for when there is nowhere else yet. */
  async #goElsewhere(
    reason: string,
    endpoint: string,
    role: Role,
    effort: Effort,
    signal: AbortSignal,
  ): Promise<CallResult | null> {
    effort.avoid = endpoint;
    effort.lastReason = reason;
    const givenUp = this.#outOfPatience(role, effort);
    if (givenUp === null) await this.#pause(ELSEWHERE_MS, role, effort, signal);
    return givenUp;
  }

  async #retryLater(
    outcome: Extract<AttemptOutcome, { type: 'retry_later' }>,
    endpoint: string,
    role: Role,
    effort: Effort,
    signal: AbortSignal,
  ): Promise<CallResult | null> {
    const { port } = this.#options;
    effort.avoid = endpoint;
    effort.lastReason = `${endpoint}: ${outcome.reason}`;
    if (outcome.rateLimited) effort.rateLimits += 1;
    else {
      effort.failures += 1;
      effort.firstFailure ??= this.#moment();
      if (mayBeLostWithServer(endpoint, outcome.cause)) effort.forgiven += 1;
      const limit = port.maxRetries(role);
      if (limit !== null && effort.failures - effort.forgiven > limit)
        return this.#refuse(`gave up after ${effort.failures} attempts: ${effort.lastReason}`);
    }
    const givenUp = this.#outOfPatience(role, effort);
    if (givenUp !== null) return givenUp;
    this.#counters.retried(outcome.cause);
    effort.retries += 1;
    // The router keeps the endpoint's own pause, whatever its length; other endpoints are free meanwhile.
    const pauseMs = outcome.retryAfterMs === null ? this.#backoffMs(effort) : 0;
    this.#options.logger.log(
      'info',
      'llm',
      `[llm] retry role=${role} endpoint=${endpoint} after_ms=${Math.round(outcome.retryAfterMs ?? pauseMs)} reason=${outcome.reason}`,
    );
    await this.#pause(pauseMs, role, effort, signal);
    return null;
  }

  async #afterRejection(
    rejection: RouterRejection,
    role: Role,
    effort: Effort,
    options: CallOptions,
  ): Promise<CallResult | null> {
    const signal = admissionOf(options);
    switch (rejection.type) {
      case 'unusable':
        throw unusableError(role, rejection.reason, rejection.status);
      case 'no_endpoint':
        throw new DlgforgeError(
          'endpoint',
          `No endpoint serves the ${role}. Set llm.agents.${role} or add "${role}" to the roles of an endpoint.`,
        );
      case 'cancelled':
        throw acquireCancelled();
      case 'deadline':
        return this.#afterDeadline(rejection.resumesInMs, role, effort, signal);
      case 'queue_full':
      case 'unreachable': {
        effort.lastReason ||=
          rejection.type === 'unreachable' ? rejection.reason : 'too many requests are waiting';
        effort.rateLimits += 1;
        const givenUp = this.#outOfPatience(role, effort);
        if (givenUp === null) await this.#pause(this.#backoffMs(effort), role, effort, signal);
        return givenUp;
      }
      default:
        return unreachable(rejection);
    }
  }

  /** A pause that a server asked for is obeyed whatever its size, once beyond the patience. */
  async #afterDeadline(
    resumesInMs: number | null,
    role: Role,
    effort: Effort,
    signal: AbortSignal,
  ): Promise<CallResult | null> {
    effort.lastReason ||= this.#options.whyWaiting?.(role) ?? '';
    if (resumesInMs === null || effort.prolonged) return this.#outOfPatience(role, effort);
    effort.prolonged = true;
    this.#warn(
      `[llm] every endpoint of the ${role} asks to wait; going on in ${Math.ceil(resumesInMs / 1000)} s`,
    );
    await this.#sleep(resumesInMs, signal);
    return null;
  }

  /**
   * Null while there is patience. When others were answered meanwhile the request itself is the
   * trouble and is refused; when nobody was, the run has to stop.
   */
  #outOfPatience(role: Role, effort: Effort): CallResult | null {
    const { clock, patienceMs } = this.#options;
    const nowMs = clock.now();
    if (nowMs >= this.#patienceEndsAtMs(role, effort))
      throw patienceError(role, patienceMs, effort.lastReason);
    if (effort.firstFailure === null || nowMs < this.#patienceAfter(effort.firstFailure)) return null;
    return this.#refuse(
      `gave up after ${effort.failures} failed attempts while other requests were answered: ${effort.lastReason}`,
    );
  }

  #patienceEndsAtMs(role: Role, effort: Effort): number {
    const answer = this.#lastAnswer.get(role);
    const isLater = answer !== undefined && answer.atMs > effort.started.atMs;
    return this.#patienceAfter(isLater ? answer : effort.started);
  }

  #patienceAfter({ atMs, awayMs }: Moment): number {
    const { router, patienceMs } = this.#options;
    return atMs + patienceMs + Math.min(AWAY_MAX_MS, router.awayMs() - awayMs);
  }

  #moment(): Moment {
    const { clock, router } = this.#options;
    return { atMs: clock.now(), awayMs: router.awayMs() };
  }

  #backoffMs(effort: Effort): number {
    return backoffMs(effort, this.#options.random ?? Math.random);
  }

  #pause(pauseMs: number, role: Role, effort: Effort, signal: AbortSignal): Promise<void> {
    const leftMs = this.#patienceEndsAtMs(role, effort) - this.#options.clock.now();
    return this.#sleep(Math.min(pauseMs, Math.max(0, leftMs)), signal);
  }

  async #sleep(pauseMs: number, signal: AbortSignal): Promise<void> {
    if (pauseMs > 0) await delay(this.#options.clock, pauseMs, signal);
    if (signal.aborted) throw acquireCancelled();
  }

  #sawAnswer(role: Role): void {
    this.#lastAnswer.set(role, this.#moment());
  }

  #refuse(reason: string): CallResult {
    this.#counters.refused();
    return { type: 'refused', reason };
  }

  #warn(message: string): void {
    this.#options.logger.log('warn', 'llm', message);
  }
}

function permitOutcome(outcome: AttemptOutcome): PermitOutcome {
  if (outcome.type === 'unusable')
    return { type: 'unusable', reason: outcome.reason, status: outcome.status };
  if (outcome.type === 'elsewhere') return { type: 'abandoned' };
  if (outcome.type !== 'retry_later') return { type: 'answered' };
  return { type: outcome.rateLimited ? 'rate_limited' : 'failed', retryAfterMs: outcome.retryAfterMs };
}
