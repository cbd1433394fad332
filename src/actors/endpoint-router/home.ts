/**
 * Where a conversation is at home while nothing is remembered of it. It needs no memory, so every router sends
 * a conversation to the same endpoint, and one that joins or leaves moves only what becomes or was its own
 * (rendezvous hashing, Thaler and Ravishankar 1998; with weights by the method of Schindelhauer and Schomaker
 * 2005).
 */
import { bits } from '../../kernel/random.ts';

/** Half a step, so that the logarithm below is never of 0. */
const HALF = 0.5;
const SPAN = 2 ** 32;

export const hashOf = (text: string): number => bits([text]);

/** Of one endpoint for one conversation, by the hashes of their names; the highest is its home. */
export function rankOf(conversationHash: number, endpointHash: number, weight: number): number {
  return -weight / Math.log((bits([conversationHash, endpointHash]) + HALF) / SPAN);
}
