import { Draws } from './draws.ts';
import type { RehearsalOptions } from './options.ts';

export type TransportFault = 'none' | 'rate_limit' | 'server_error' | 'reset' | 'stall';
export type ContentFault =
  | 'none'
  | 'truncated'
  | 'malformed'
  | 'wrong_type'
  | 'empty'
  | 'prose'
  | 'duplicate';

/** Drawn anew at every arrival of a request, so that a retry can succeed. `arrival` counts from 1. */
export function drawTransportFault(options: RehearsalOptions, key: string, arrival: number): TransportFault {
  return exclusive(options.seed, 'transport', key, arrival, [
    ['rate_limit', options.rate_limit_rate],
    ['server_error', options.server_error_rate],
    ['reset', options.reset_rate],
    ['stall', options.stall_rate],
  ]);
}

/** The same for every arrival: who asks the same gets the same bad answer. */
export function drawContentFault(options: RehearsalOptions, key: string): ContentFault {
  return exclusive(options.seed, 'content', key, 0, [
    ['truncated', options.truncated_rate],
    ['malformed', options.malformed_rate],
    ['wrong_type', options.wrong_type_rate],
    ['empty', options.empty_rate],
    ['prose', options.prose_rate],
    ['duplicate', options.duplicate_rate],
  ]);
}

function exclusive<F extends string>(
  seed: number,
  purpose: string,
  key: string,
  arrival: number,
  rates: readonly (readonly [F, number])[],
): F | 'none' {
  if (rates.every(([, rate]) => rate === 0)) return 'none';
  let left = new Draws(seed, purpose, key, arrival).unit('fault');
  for (const [fault, rate] of rates) {
    if (left < rate) return fault;
    left -= rate;
  }
  return 'none';
}
