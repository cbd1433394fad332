/** The random choices of a conversation, each a function of its key (ARCHITECTURE.md, "How a conversation runs"). */
import { type RandomKey, shuffled, uniform } from '../kernel/random.ts';
import type { TurnSettings } from './settings.ts';

export type QuestionMode = 'seeded' | 'fresh' | 'followup' | 'adjacent' | 'off_topic';

/** Weights of the values min … max, for inverse-transform sampling. */
function turnWeights(settings: TurnSettings): number[] {
  const mean = settings.mean ?? (settings.min + settings.max) / 2;
  const values = Array.from(
    { length: settings.max - settings.min + 1 },
    (_, offset) => settings.min + offset,
  );
  switch (settings.distribution) {
    case 'uniform':
      return values.map(() => 1);
    case 'poisson': {
      // In logarithms, relative to the first value: the factorials of long conversations overflow.
      let logWeight = 0;
      const logs = values.map((value, position) => {
        if (position > 0) logWeight += Math.log(mean) - Math.log(value);
        return logWeight;
      });
      const highest = Math.max(...logs);
      return logs.map((log) => Math.exp(log - highest));
    }
    case 'exponential':
      return values.map((value) => Math.exp(-(value - settings.min) / mean));
  }
}

/**
 * Number of turns. The distribution is cut to [min, max] and not clamped, so the ends get no extra
 * mass (C17). A rounded exponential has P(k) ∝ e^(−k/mean), hence the weights above.
 */
export function sampleTurnCount(key: RandomKey, settings: TurnSettings): number {
  if (settings.min >= settings.max) return settings.max;
  const weights = turnWeights(settings);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let rest = uniform([...key, 'turn-count']) * total;
  for (const [offset, weight] of weights.entries()) {
    rest -= weight;
    if (rest < 0) return settings.min + offset;
  }
  return settings.max;
}

/** Shares of the modes after the first turn (as in 0.1.0). */
const EARLY_MODES: readonly (readonly [QuestionMode, number])[] = [
  ['followup', 0.7],
  ['adjacent', 0.2],
  ['fresh', 0.08],
  ['off_topic', 0.02],
];
const LATE_MODES: readonly (readonly [QuestionMode, number])[] = [
  ['followup', 0.45],
  ['adjacent', 0.3],
  ['fresh', 0.23],
  ['off_topic', 0.02],
];

/** The mode of a turn after the first; seeds are decided elsewhere. */
export function sampleQuestionMode(key: RandomKey, turn: number): QuestionMode {
  let rest = uniform([...key, 'question-mode']);
  const shares = turn <= 2 ? EARLY_MODES : LATE_MODES;
  for (const [mode, share] of shares) {
    rest -= share;
    if (rest < 0) return mode;
  }
  return 'off_topic';
}

/** The n-th draw from a deck that is shuffled anew each time it runs out; null for an empty deck. */
export function drawFromDeck<T>(key: RandomKey, deck: readonly T[], n: number): T | null {
  if (deck.length === 0) return null;
  const cycle = Math.floor(n / deck.length);
  return shuffled([...key, cycle], deck)[n % deck.length] ?? null;
}
