import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DialogueContext } from '../../../src/dialogue/conversation.ts';
import { validate } from '../../../src/dialogue/validity.ts';
import { below } from '../../../src/kernel/random.ts';
import { dialogueOf } from '../../support/dialogue-context.ts';
import { type LabOptions, ScheduleLab, sequentialDataset } from '../../support/schedule-lab.ts';

const contexts = new Map<string, DialogueContext>();
function contextOf(languages: number, dedupRetries: number): DialogueContext {
  const name = `${languages}/${dedupRetries}`;
  const known = contexts.get(name);
  if (known !== undefined) return known;
  const context = dialogueOf({
    languages: ['english', 'french', 'arabic'].slice(0, languages),
    settings: {
      judge: null,
      turns: { min: 1, max: 3, distribution: 'uniform', mean: null },
      coverage: { mode: 'balanced', epsilon: 0.15, fraction: 0.2, dedupRetries },
    },
  });
  contexts.set(name, context);
  return context;
}

const run = fc.record({
  languages: fc.integer({ min: 1, max: 3 }),
  dedupRetries: fc.integer({ min: 0, max: 3 }),
  target: fc.integer({ min: 1, max: 7 }),
  openMax: fc.integer({ min: 1, max: 9 }),
  waitingMax: fc.integer({ min: 1, max: 9 }),
  consecutiveDropsMax: fc.integer({ min: 1, max: 3 }),
  /** Few questions: nearly every conversation meets another's. */
  pool: fc.integer({ min: 1, max: 60 }),
  seed: fc.nat({ max: 10_000 }),
  order: fc.nat({ max: 1_000_000 }),
  crashes: fc.boolean(),
});

test('I5, C12: whatever the order of events, the dataset is that of the sequential schedule', () => {
  let sentBack = 0;
  let drops = 0;
  let failures = 0;
  fc.assert(
    fc.property(run, (given) => {
      const { languages, dedupRetries, target, openMax, waitingMax, consecutiveDropsMax, pool, seed, order } =
        given;
      const options: LabOptions = {
        context: contextOf(languages, dedupRetries),
        target,
        limits: { openMax, waitingMax, consecutiveDropsMax },
        question: ({ index, languageIndex }, turn, attempt) =>
          `Question ${below([seed, index, languageIndex, turn, attempt], pool)}?`,
      };
      const lab = new ScheduleLab(options);
      let crashes = 0;
      for (let steps = 0; !lab.done; steps += 1) {
        expect(steps, 'the run ends').toBeLessThan(20_000);
        if (given.crashes && crashes < 3 && below([order, 'crash', steps], 80) === 0) {
          crashes += 1;
          lab.crash();
        }
        if (below([order, 'repeat', steps], 10) === 0) lab.repeat(below([order, 'which', steps], 100));
        const moved = lab.step(below([order, 'step', steps], 30_000));
        expect(moved || lab.done, 'something can always happen').toBe(true);
      }
      const expected = sequentialDataset(options);
      expect(lab.rows).toEqual(expected);
      for (const { languageIndex, committed, ended } of lab.progress) {
        expect(committed).toBe(
          expected.filter((row) => row.rank.languageIndex === languageIndex && row.outcome === 'committed')
            .length,
        );
        expect(ended).toBe(committed === target ? 'reached' : 'failed');
      }
      expect(lab.committedKeys.size).toBe(
        expected.filter((row) => row.outcome === 'committed').reduce((sum, row) => sum + row.turns.length, 0),
      );
      // I1: nothing that is in a journal is paid for again, however often a conversation is sent back.
      expect([...lab.paid.values()].every((count) => count === 1)).toBe(true);
      // Every send-back puts one more guess right for good.
      expect(lab.revisionsMax).toBeLessThanOrEqual(3 * (dedupRetries + 1));
      sentBack += lab.sentBack;
      drops += expected.filter((row) => row.outcome !== 'committed').length;
      failures += lab.progress.filter(({ ended }) => ended === 'failed').length;
    }),
    { numRuns: 80 },
  );
  // A property over schedules without collisions would prove nothing.
  expect(Math.min(sentBack, drops, failures)).toBeGreaterThan(0);
});

describe('the rule', () => {
  const committed = new Set(['x', 'y']);
  const rule = (turns: Parameters<typeof validate>[0]) => validate(turns, (key) => committed.has(key));

  test('rejected attempts asked what is taken, the accepted one did not', () => {
    expect(
      rule([
        { turn: 1, attempts: ['x', 'y', 'a'], accepted: true },
        { turn: 2, attempts: ['a', 'b'], accepted: true },
      ]),
    ).toEqual({ type: 'valid' });
  });

  test('the first wrong guess is named, with what it should have been', () => {
    expect(rule([{ turn: 1, attempts: ['a', 'b'], accepted: true }])).toEqual({
      type: 'wrong_guess',
      turn: 1,
      attempt: 0,
      verdict: 'accept',
    });
    expect(
      rule([
        { turn: 1, attempts: ['a'], accepted: true },
        { turn: 2, attempts: ['b', 'x'], accepted: true },
      ]),
    ).toMatchObject({ turn: 2, attempt: 0, verdict: 'accept' });
    expect(
      rule([
        { turn: 1, attempts: ['a'], accepted: true },
        { turn: 2, attempts: ['a'], accepted: true },
      ]),
    ).toMatchObject({ turn: 2, attempt: 0, verdict: 'reject' });
  });

  test('C16: a drop for duplicates stands only when every one of its questions was taken', () => {
    expect(rule([{ turn: 1, attempts: ['x', 'y'], accepted: false }])).toEqual({ type: 'valid' });
    expect(rule([{ turn: 1, attempts: ['x', 'a'], accepted: false }])).toMatchObject({
      attempt: 1,
      verdict: 'accept',
    });
    expect(rule([{ turn: 1, attempts: [], accepted: false }])).toEqual({ type: 'valid' });
  });
});
