import { isDlgforgeError } from '../kernel/errors.ts';

/** Documented in README.md; scripts rely on them. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  /** The run is complete; what should follow it, further formats or publishing, was not done. */
  unpublished: 3,
  interrupted: 130,
} as const;

export function exitCodeOf(error: unknown): number {
  if (isDlgforgeError(error, 'usage')) return EXIT.usage;
  return isDlgforgeError(error, 'cancelled') ? EXIT.interrupted : EXIT.failed;
}

/** Of a run, by how it ended. */
export function exitCodeOfEnd(end: 'completed' | 'interrupted' | 'cancelled' | 'failed'): number {
  if (end === 'completed') return EXIT.done;
  return end === 'failed' ? EXIT.failed : EXIT.interrupted;
}
