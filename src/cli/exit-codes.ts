import { isDlgforgeError } from '../kernel/errors.ts';

/** Documented in README.md; scripts rely on them. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

export function exitCodeOf(error: unknown): number {
  if (isDlgforgeError(error, 'usage')) return EXIT.usage;
  return isDlgforgeError(error, 'cancelled') ? EXIT.interrupted : EXIT.failed;
}
