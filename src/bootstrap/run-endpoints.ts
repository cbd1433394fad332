/**
 * Keeps the endpoints of a run in one process as they are wanted, while the run is on: the configured ones,
 * with the changes in the store over them. The store is looked at twice a second, by a number first; there is
 * nobody to tell of a change, so a lost message, a moved leader or a late node all heal in the same way.
 */
import { type Clock, delay, systemClock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { RunId } from '../kernel/ids.ts';
import type { Logger } from '../kernel/logger.ts';
import type { Role } from '../dialogue/chat.ts';
import type { EndpointPlan } from '../llm/plan-endpoints.ts';
import type { EndpointConfig } from '../llm/settings.ts';
import type { ModelPort } from '../ports/model.ts';
import type { Store } from '../ports/store.ts';
import {
  configuredRows,
  type KeyOfVariable,
  lackingKeys,
  whyWaiting,
  withChanges,
} from './endpoint-changes.ts';
import { delegating } from './metrics/delegating.ts';

export interface RunEndpointsOptions {
  readonly store: Pick<Store, 'runEndpoints' | 'runEndpointsVersion' | 'setRunEndpoint'>;
  readonly runId: RunId;
  /** As configured. */
  readonly plan: EndpointPlan;
  readonly keyOf: KeyOfVariable;
  readonly logger: Logger;
  /** Told of the endpoints as they are wanted: before the promise resolves, and after every change. */
  readonly onChange: (plan: EndpointPlan) => void;
  /** Writes the configured endpoints into the store, for people to see and drain. @default false */
  readonly publishes?: boolean;
  /** @default systemClock */
  readonly clock?: Clock;
}

export interface RunEndpoints {
  /** As wanted, as far as this process knows. */
  readonly plan: EndpointPlan;
  /** Looks now; resolves when it has looked, or could not. */
  refresh(): Promise<void>;
  /** Why calls of a role wait for a person; null when they do not. */
  whyWaiting(role: Role): string | null;
  /** What a person has to see to: keys that are missing here, roles that wait. */
  readonly troubles: readonly string[];
  stop(): void;
}

const LOOK_MS = 500;
/** A permit is held meanwhile: with the store away it is given back. */
const REFRESH_MS = 2_000;

/** @throws DlgforgeError `store` when the first look fails; later ones are tried again. */
export async function watchRunEndpoints(options: RunEndpointsOptions): Promise<RunEndpoints> {
  const watch = new Watch(options);
  await watch.begin();
  return watch;
}

class Watch implements RunEndpoints {
  readonly #options: RunEndpointsOptions;
  readonly #clock: Clock;
  #plan: EndpointPlan;
  #version = -1;
  #looking: Promise<void> = Promise.resolve();
  /** A look that has yet to begin: whoever asks for one meanwhile is served by it. */
  #next: Promise<void> | null = null;
  #cancel: () => void = () => undefined;
  #isStopped = false;
  #unread: string | null = null;
  #troubles: readonly string[] = [];

  constructor(options: RunEndpointsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#plan = options.plan;
  }

  get plan(): EndpointPlan {
    return this.#plan;
  }

  get troubles(): readonly string[] {
    return this.#troubles;
  }

  async begin(): Promise<void> {
    const { store, runId, plan, publishes = false } = this.#options;
    if (publishes) {
      const { endpoints } = await store.runEndpoints(runId);
      for (const row of configuredRows(plan, endpoints)) await store.setRunEndpoint(runId, row);
    }
    await this.#look();
    this.#wait();
  }

  refresh(): Promise<void> {
    this.#next ??= this.#looking.then(() => {
      this.#next = null;
      this.#looking = this.#lookOrSay();
      return this.#looking;
    });
    return this.#next;
  }

  whyWaiting(role: Role): string | null {
    return whyWaiting(this.#plan, role);
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  #wait(): void {
    if (this.#isStopped) return;
    this.#cancel = this.#clock.schedule(LOOK_MS, () => void this.refresh().then(() => this.#wait()));
  }

  async #lookOrSay(): Promise<void> {
    if (this.#isStopped) return;
    try {
      await this.#look();
      this.#unread = null;
    } catch (error) {
      const why = messageOf(error);
      if (why !== this.#unread && !this.#isStopped)
        this.#warn(`the changes of the endpoints cannot be read: ${why}`);
      this.#unread = why;
    }
  }

  async #look(): Promise<void> {
    const { store, runId, plan, keyOf, onChange } = this.#options;
    if ((await store.runEndpointsVersion(runId)) === this.#version) return;
    const { version, endpoints } = await store.runEndpoints(runId);
    if (this.#isStopped) return;
    const before = this.#plan;
    this.#plan = withChanges(plan, endpoints, keyOf);
    this.#version = version;
    onChange(this.#plan);
    for (const text of differences(before, this.#plan)) this.#options.logger.log('info', 'llm', said(text));
    this.#lookForTroubles();
  }

  /** Each is said once. */
  #lookForTroubles(): void {
    const { activeRoles } = this.#plan;
    const waits = activeRoles.map((role) => this.whyWaiting(role)).filter((text) => text !== null);
    const troubles = [...lackingKeys(this.#plan), ...waits];
    for (const text of troubles) if (!this.#troubles.includes(text)) this.#warn(text);
    this.#troubles = troubles;
  }

  #warn(text: string): void {
    this.#options.logger.log('warn', 'llm', said(text));
  }
}

const said = (text: string): string => `[endpoints] ${text}`;

/** For people: what is otherwise than before. */
function differences(before: EndpointPlan, after: EndpointPlan): string[] {
  const known = new Map(before.endpoints.map((endpoint) => [endpoint.name, endpoint]));
  const names = new Set(after.endpoints.map(({ name }) => name));
  const left = before.endpoints
    .filter(({ name }) => !names.has(name))
    .map(({ name }) => `${name} is removed`);
  const others = after.endpoints.flatMap((endpoint) => {
    const earlier = known.get(endpoint.name);
    if (earlier === undefined) return [`${endpoint.name} is added${drains(endpoint) ? ', drained' : ''}`];
    if (drains(earlier) === drains(endpoint)) return [];
    return [
      `${endpoint.name} ${drains(endpoint) ? 'is drained: it finishes what it has' : 'is back in use'}`,
    ];
  });
  return [...left, ...others];
}

const drains = ({ isDraining = false }: EndpointConfig): boolean => isDraining;

/**
 * A port that looks at once when it is granted an endpoint that it does not know: whoever leads the run has
 * heard of it first.
 */
export function refreshedPort(
  port: ModelPort,
  endpoints: Pick<RunEndpoints, 'refresh'>,
  clock: Clock = systemClock,
): ModelPort {
  const known = async (name: string, signal: AbortSignal): Promise<void> => {
    if (port.endpoints.some((endpoint) => endpoint.name === name)) return;
    const looked = new AbortController();
    const late = delay(clock, REFRESH_MS, AbortSignal.any([signal, looked.signal]));
    await Promise.race([endpoints.refresh(), late]);
    looked.abort();
  };
  const replaced: Pick<ModelPort, 'attempt' | 'check'> = {
    async attempt(endpoint, request, signal) {
      await known(endpoint, signal);
      return await port.attempt(endpoint, request, signal);
    },
    async check(endpoint, signal, options) {
      await known(endpoint, signal);
      return await port.check(endpoint, signal, options);
    },
  };
  return delegating(port, replaced, () => undefined);
}
