import { unreachable } from '../../kernel/errors.ts';
import { Draws } from './draws.ts';
import type { RehearsalOptions } from './options.ts';

/** Whose mean applies: a role of the request, or an assistant's answer that calls tools. */
export type LatencyClass = 'user' | 'assistant' | 'assistant_tools' | 'judge' | 'general';

/** Milliseconds that an arrival takes before its tokens are paced; a function of (latency seed, key, arrival). */
export function drawLatency(
  latency: RehearsalOptions['latency'],
  of: LatencyClass,
  key: string,
  arrival: number,
): number {
  const meanMs = meanOf(latency, of);
  if (meanMs === 0) return 0;
  const draws = new Draws('latency', latency.seed, key, arrival);
  const factor = draws.happens('straggler', latency.straggler_rate) ? latency.straggler_factor : 1;
  if (latency.distribution === 'fixed') return meanMs * factor;
  // The mean of a lognormal is exp(mu + sigma² / 2), so this mu makes `meanMs` the mean.
  const mu = Math.log(meanMs) - latency.sigma ** 2 / 2;
  return Math.exp(mu + latency.sigma * standardNormal(draws)) * factor;
}

function meanOf(latency: RehearsalOptions['latency'], of: LatencyClass): number {
  const { per_role: perRole, mean_ms: meanMs } = latency;
  switch (of) {
    case 'user':
      return perRole.user ?? meanMs;
    case 'assistant':
      return perRole.assistant ?? meanMs;
    case 'assistant_tools':
      return perRole.assistant_tools ?? perRole.assistant ?? meanMs;
    case 'judge':
      return perRole.judge ?? meanMs;
    case 'general':
      return meanMs;
    default:
      return unreachable(of);
  }
}

/** Box and Muller's transform. */
function standardNormal(draws: Draws): number {
  return Math.sqrt(-2 * Math.log(1 - draws.unit('radius'))) * Math.cos(2 * Math.PI * draws.unit('angle'));
}
