import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  barLines,
  plainLine,
  ratesOf,
  remainingMs,
  type Sample,
  type Samples,
  withSample,
} from '../../../src/cli/progress-lines.ts';

interface Facts {
  readonly committed?: number;
  readonly target?: number;
  readonly turns?: number;
  readonly tokens?: number;
}

function sampleAt(atMs: number, { committed = 0, target = 12, turns = 0, tokens = 0 }: Facts = {}): Sample {
  const language = {
    languageIndex: 0,
    target,
    committed,
    dropped: 1,
    nextIndex: 0,
    ended: null,
    open: 3,
    turns,
  };
  return {
    atMs,
    inFlight: 7,
    tokens,
    view: {
      phase: 'running',
      epoch: 1,
      languages: [language as unknown as Sample['view']['languages'][number]],
      open: 3,
      waiting: 0,
      workers: [],
    },
  };
}

const all = (...samples: readonly Sample[]): Samples => samples.reduce(withSample, [] as Samples);

describe('rates', () => {
  test('say nothing before there is something to go by', () => {
    expect(ratesOf([])).toBeNull();
    expect(ratesOf(all(sampleAt(0)))).toBeNull();
    expect(ratesOf(all(sampleAt(0), sampleAt(200, { turns: 5 })))).toBeNull();
    expect(remainingMs(all(sampleAt(0), sampleAt(9_000)))).toBeNull();
  });

  test('are of the last seconds, the estimate of the end is of the whole run', () => {
    const samples = all(
      sampleAt(0),
      sampleAt(90_000, { committed: 5, turns: 100, tokens: 50_000 }),
      sampleAt(100_000, { committed: 6, turns: 120, tokens: 60_000 }),
    );
    expect(ratesOf(samples)).toEqual({ turnsPerSecond: 2, tokensPerSecond: 1_000 });
    expect(remainingMs(samples)).toBe(100_000);
  });

  test('keep few samples, however long the run is (I9)', () => {
    let samples: Samples = [];
    for (let atMs = 0; atMs < 3_600_000; atMs += 200) samples = withSample(samples, sampleAt(atMs));
    expect(samples.length).toBeLessThan(105);
    expect(samples[0]?.atMs).toBe(0);
  });
});

describe('lines', () => {
  test('name what is accepted, dropped, open and in flight', () => {
    const samples = all(sampleAt(0), sampleAt(10_000, { committed: 6, turns: 20, tokens: 4_000 }));
    expect(barLines(['english'], samples, 80)).toEqual([
      'english ████████████░░░░░░░░░░░░  6/12 accepted, 1 dropped, 3 open',
      '7 in flight, 2.0 turns/s, 400 tokens/s, ETA 10.0 s',
    ]);
    expect(plainLine(['english'], samples)).toBe(
      '[samples] english 6/12 accepted, 1 dropped, 3 open | 7 in flight, 2.0 turns/s, 400 tokens/s, ETA 10.0 s',
    );
  });

  test('fit every terminal and never say NaN or Infinity', () => {
    const count = fc.nat({ max: 1_000_000 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.string({ maxLength: 60 }),
        fc.array(fc.tuple(count, count, count, count), { maxLength: 5 }),
        (columns, name, facts) => {
          const samples = all(
            ...facts.map(([committed, target, turns, tokens], i) =>
              sampleAt(i * 1_000, { committed, target, turns, tokens }),
            ),
          );
          for (const line of barLines([name], samples, columns))
            expect(line.length).toBeLessThanOrEqual(Math.max(1, columns - 1));
          expect(plainLine(['x'], samples)).not.toMatch(/NaN|Infinity|undefined|-\d/);
        },
      ),
    );
  });
});
