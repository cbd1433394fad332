/** How much of a run one worker may hold. */
import type { RunNotice } from './messages.ts';

const CAPACITY_MIN = 8;
/** A report names all that a worker has, and fits into one message. */
const CAPACITY_MAX = 5_000;
/** Some room above the fair share, so that a worker that is ahead is not idle. */
const CAPACITY_SHARE = 1.5;

/** Conversations that a worker may have in hand. */
export function fairShareOf({ window, workerCount }: Pick<RunNotice, 'window' | 'workerCount'>): number {
  const share = Math.ceil((CAPACITY_SHARE * window) / Math.max(1, workerCount));
  return Math.min(CAPACITY_MAX, Math.max(CAPACITY_MIN, share));
}
