/**
 * The score of a verdict as a number from 0 to 10, or null when it has none. A boolean is no score and
 * neither is 99; `"8"` is one. A verdict that is missing has no score, never 0.
 */
export function scoreOf(value: unknown): number | null {
  const score = typeof value === 'string' && /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value;
  return typeof score === 'number' && score >= 0 && score <= 10 ? score : null;
}

/** The mean of the scores that there are; null when there are none. */
export function meanScore(values: readonly unknown[]): number | null {
  const scores = values.map(scoreOf).filter((score) => score !== null);
  return scores.length === 0 ? null : scores.reduce((sum, score) => sum + score, 0) / scores.length;
}
