import type { Role } from '../../dialogue/chat.ts';
import type { RunEndpoint } from './run-endpoint.ts';

export type Strategy = 'weighted_least_inflight' | 'round_robin' | 'prefix_affinity';
export const STRATEGIES: readonly Strategy[] = ['weighted_least_inflight', 'round_robin', 'prefix_affinity'];

/** The replica that holds a conversation's prefix keeps it up to this share of its limit. */
const AFFINITY_LOAD = 0.9;

export interface Wish {
  readonly role: Role;
  /** Who asks: some keys are refused, and others of the same run are not. */
  readonly holder: string;
  /** An endpoint that just failed this call: taken only when no other has room. */
  readonly avoid: string | null;
  /** The endpoint that served the conversation last. */
  readonly previous: RunEndpoint | null;
}

/** The endpoint for a request among those that have room now, or null. */
export function choose(
  endpoints: Iterable<RunEndpoint>,
  wish: Wish,
  strategy: Strategy,
  nowMs: number,
): RunEndpoint | null {
  const { role, holder, previous } = wish;
  if (strategy === 'prefix_affinity' && previous !== null && previous.spec.name !== wish.avoid) {
    if (previous.takes(role, holder, nowMs) && previous.state.load <= AFFINITY_LOAD) return previous;
  }
  const better = strategy === 'round_robin' ? lessShare : lessPressure;
  let best: RunEndpoint | null = null;
  let avoided: RunEndpoint | null = null;
  for (const endpoint of endpoints) {
    if (!endpoint.takes(role, holder, nowMs)) continue;
    if (endpoint.spec.name === wish.avoid) avoided = endpoint;
    else if (best === null || better(endpoint, best)) best = endpoint;
  }
  return best ?? avoided;
}

function lessPressure(a: RunEndpoint, b: RunEndpoint): boolean {
  const difference = a.pressure - b.pressure;
  return difference < 0 || (difference === 0 && a.state.lastGrant < b.state.lastGrant);
}

function lessShare(a: RunEndpoint, b: RunEndpoint): boolean {
  return a.share < b.share || (a.share === b.share && a.state.lastGrant < b.state.lastGrant);
}
