import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  drawFromDeck,
  type QuestionMode,
  sampleQuestionMode,
  sampleTurnCount,
} from '../../../src/dialogue/sampling.ts';
import type { TurnSettings } from '../../../src/dialogue/settings.ts';

const DRAWS = 20_000;

/** Share of each value among many draws. */
function sharesOf<T>(draw: (n: number) => T): Map<T, number> {
  const shares = new Map<T, number>();
  for (let n = 0; n < DRAWS; n += 1) {
    const value = draw(n);
    shares.set(value, (shares.get(value) ?? 0) + 1 / DRAWS);
  }
  return shares;
}

/** Five standard deviations of a share over so many draws: misses about once in two million. */
const tolerance = (share: number): number => 5 * Math.sqrt((share * (1 - share)) / DRAWS) + 1e-4;

function expectShares<T>(actual: Map<T, number>, expected: ReadonlyMap<T, number>): void {
  for (const value of new Set([...actual.keys(), ...expected.keys()])) {
    const wanted = expected.get(value) ?? 0;
    expect(Math.abs((actual.get(value) ?? 0) - wanted), `share of ${String(value)}`).toBeLessThanOrEqual(
      tolerance(wanted),
    );
  }
}

function truncated(settings: TurnSettings, weight: (value: number) => number): Map<number, number> {
  const values = Array.from({ length: settings.max - settings.min + 1 }, (_, i) => settings.min + i);
  const total = values.reduce((sum, value) => sum + weight(value), 0);
  return new Map(values.map((value) => [value, weight(value) / total]));
}

const factorial = (n: number): number => (n <= 1 ? 1 : n * factorial(n - 1));

describe('C17: turn counts follow the distribution cut to its limits, with no extra mass at the ends', () => {
  const cases: readonly (readonly [TurnSettings, (value: number) => number])[] = [
    [{ min: 2, max: 12, distribution: 'poisson', mean: 6 }, (k) => 6 ** k / factorial(k)],
    [{ min: 2, max: 12, distribution: 'poisson', mean: null }, (k) => 7 ** k / factorial(k)],
    [{ min: 4, max: 6, distribution: 'poisson', mean: 1 }, (k) => 1 / factorial(k)],
    [{ min: 2, max: 12, distribution: 'exponential', mean: 3 }, (k) => Math.exp(-k / 3)],
    [{ min: 1, max: 8, distribution: 'uniform', mean: 2 }, () => 1],
  ];
  test.each(cases)('%o', (settings, weight) => {
    expectShares(
      sharesOf((n) => sampleTurnCount(['test', n], settings)),
      truncated(settings, weight),
    );
  });

  test('every count is within its limits, also for long conversations', () => {
    fc.assert(
      fc.property(
        fc.record({
          min: fc.integer({ min: 1, max: 400 }),
          span: fc.nat({ max: 400 }),
          distribution: fc.constantFrom('poisson' as const, 'exponential' as const, 'uniform' as const),
          mean: fc.option(fc.double({ min: 0.01, max: 1_000, noNaN: true })),
          key: fc.nat(),
        }),
        ({ min, span, distribution, mean, key }) => {
          const count = sampleTurnCount([key], { min, max: min + span, distribution, mean });
          expect(Number.isInteger(count) && count >= min && count <= min + span).toBe(true);
        },
      ),
    );
  });
});

test('question modes after the first turn have the documented shares', () => {
  const early = new Map<QuestionMode, number>([
    ['followup', 0.7],
    ['adjacent', 0.2],
    ['fresh', 0.08],
    ['off_topic', 0.02],
  ]);
  const late = new Map<QuestionMode, number>([
    ['followup', 0.45],
    ['adjacent', 0.3],
    ['fresh', 0.23],
    ['off_topic', 0.02],
  ]);
  expectShares(
    sharesOf((n) => sampleQuestionMode(['modes', n], 2)),
    early,
  );
  expectShares(
    sharesOf((n) => sampleQuestionMode(['modes', n], 3)),
    late,
  );
  expectShares(
    sharesOf((n) => sampleQuestionMode(['modes', n], 11)),
    late,
  );
});

test('B6: a deck gives everything once before anything twice, and the same to whoever asks again', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.nat({ max: 5 }), fc.nat(), (size, cycle, key) => {
      const deck = Array.from({ length: size }, (_, i) => i);
      const round = deck.map((n) => drawFromDeck([key], deck, cycle * size + n));
      expect(new Set(round).size).toBe(size);
      expect(deck.map((n) => drawFromDeck([key], deck, cycle * size + n))).toEqual(round);
    }),
  );
  expect(drawFromDeck([1], [], 3)).toBeNull();
});
