import type { Role } from '../../dialogue/chat.ts';
import { hashOf, rankOf } from './home.ts';
import type { RunEndpoint } from './run-endpoint.ts';

export type Strategy = 'weighted_least_inflight' | 'round_robin' | 'prefix_affinity';
export const STRATEGIES: readonly Strategy[] = ['weighted_least_inflight', 'round_robin', 'prefix_affinity'];

/** The replica that holds a conversation's prefix keeps it up to this many times the load of the least loaded … */
const LOAD_FACTOR = 2;
/** … and a few requests more: at most this many, and at most a quarter of its limit. */
const LOAD_SLACK_MAX = 4;
const LOAD_SLACK_SHARE = 0.25;

/** Answer times that differ by this much are alike: it is the machines and the network, not the model. */
const NOISE_MS = 20;

export interface Wish {
  readonly role: Role;
  /** Who asks: some keys are refused, and others of the same run are not. */
  readonly holder: string;
  /** An endpoint that just failed this call: taken only when no other has room. */
  readonly avoid: string | null;
  readonly conversation: string;
  /** The endpoint that served the conversation last. */
  readonly previous: string | null;
}

/** The endpoint for a request among those that have room now, or null. */
export function choose(
  endpoints: Iterable<RunEndpoint>,
  wish: Wish,
  strategy: Strategy,
  nowMs: number,
): RunEndpoint | null {
  const { role, holder } = wish;
  const free: RunEndpoint[] = [];
  let avoided: RunEndpoint | null = null;
  for (const endpoint of endpoints) {
    if (!endpoint.takes(role, holder, nowMs)) continue;
    if (endpoint.spec.name === wish.avoid) avoided = endpoint;
    else free.push(endpoint);
  }
  if (free.length < 2) return free[0] ?? avoided;
  if (strategy === 'prefix_affinity') return nearest(free, wish, nowMs);
  if (strategy === 'round_robin') return smallest(free, ({ share }) => share);
  return smallest(free, (endpoint) => endpoint.pressure(nowMs));
}

/** Ties go to the one that was granted longest ago. */
function smallest(
  endpoints: readonly RunEndpoint[],
  of: (endpoint: RunEndpoint) => number,
): RunEndpoint | null {
  let best: RunEndpoint | null = null;
  let bestValue = Number.POSITIVE_INFINITY;
  for (const endpoint of endpoints) {
    const value = of(endpoint);
    if (value > bestValue) continue;
    if (best !== null && value === bestValue && endpoint.state.lastGrant >= best.state.lastGrant) continue;
    best = endpoint;
    bestValue = value;
  }
  return best;
}

/**
 * The endpoint that served the conversation last, else its home, unless that is loaded far above the least
 * loaded (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2016). Load is the work
 * that waits there: requests, times how long answers to the role take compared with the fastest, so that a
 * slow replica does not hold on to its conversations.
 */
function nearest(
  free: readonly RunEndpoint[],
  { role, conversation, previous }: Wish,
  nowMs: number,
): RunEndpoint | null {
  const fastestMs = fastest(free, role);
  const slowness = ({ state }: RunEndpoint): number =>
    (NOISE_MS + (state.answerMs(role) ?? fastestMs)) / (NOISE_MS + fastestMs);
  const load = (endpoint: RunEndpoint): number => endpoint.pressure(nowMs) * slowness(endpoint);
  const least = smallest(free, load);
  const home = free.find(({ spec }) => spec.name === previous) ?? homeOf(free, conversation);
  if (least === null || home === null) return least;
  const slack = Math.min(LOAD_SLACK_MAX, LOAD_SLACK_SHARE * home.state.limit) / home.spec.weight;
  return load(home) <= LOAD_FACTOR * load(least) + slack / slowness(home) ? home : least;
}

function homeOf(free: readonly RunEndpoint[], conversation: string): RunEndpoint | null {
  const hash = hashOf(conversation);
  let home: RunEndpoint | null = null;
  let highest = Number.NEGATIVE_INFINITY;
  for (const endpoint of free) {
    const rank = rankOf(hash, endpoint.hash, endpoint.spec.weight);
    if (rank <= highest) continue;
    highest = rank;
    home = endpoint;
  }
  return home;
}

/** Shortest mean answer time, in milliseconds; 0 while none is known. */
function fastest(free: readonly RunEndpoint[], role: Role): number {
  let ms: number | null = null;
  for (const { state } of free) {
    const known = state.answerMs(role);
    if (known !== null && (ms === null || known < ms)) ms = known;
  }
  return ms ?? 0;
}
