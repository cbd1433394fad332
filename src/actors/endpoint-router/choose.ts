import type { Role } from '../../dialogue/chat.ts';
import type { EndpointState } from './endpoint-state.ts';

export type Strategy = 'weighted_least_inflight' | 'round_robin' | 'prefix_affinity';
export const STRATEGIES: readonly Strategy[] = ['weighted_least_inflight', 'round_robin', 'prefix_affinity'];

/** The replica that holds a conversation's prefix keeps it up to this share of its limit. */
const AFFINITY_LOAD = 0.9;

export interface Wish {
  readonly role: Role;
  /** An endpoint that just failed this call: taken only when no other has room. */
  readonly avoid: string | null;
  /** The endpoint that served the conversation last. */
  readonly previous: EndpointState | null;
}

/** The endpoint for a request among those that have room now, or null. */
export function choose(
  endpoints: readonly EndpointState[],
  wish: Wish,
  strategy: Strategy,
  nowMs: number,
): EndpointState | null {
  const { role, previous } = wish;
  if (strategy === 'prefix_affinity' && previous !== null && previous.spec.name !== wish.avoid) {
    if (previous.serves(role, nowMs) && previous.hasRoom(nowMs) && previous.load <= AFFINITY_LOAD)
      return previous;
  }
  const better = strategy === 'round_robin' ? lessShare : lessPressure;
  let best: EndpointState | null = null;
  let avoided: EndpointState | null = null;
  for (const endpoint of endpoints) {
    if (!endpoint.hasRoom(nowMs) || !endpoint.serves(role, nowMs)) continue;
    if (endpoint.spec.name === wish.avoid) avoided = endpoint;
    else if (best === null || better(endpoint, best)) best = endpoint;
  }
  return best ?? avoided;
}

function lessPressure(a: EndpointState, b: EndpointState): boolean {
  const difference = a.pressure - b.pressure;
  return difference < 0 || (difference === 0 && a.lastGrant < b.lastGrant);
}

function lessShare(a: EndpointState, b: EndpointState): boolean {
  return a.share < b.share || (a.share === b.share && a.lastGrant < b.lastGrant);
}
