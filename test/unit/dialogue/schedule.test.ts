import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  compareRanks,
  createSchedule,
  type LaneStart,
  type Rank,
  type Schedule,
} from '../../../src/dialogue/schedule.ts';
import { below } from '../../../src/kernel/random.ts';

const fresh = (target: number): LaneStart => ({
  target,
  committed: 0,
  dropped: 0,
  consecutiveDrops: 0,
  nextIndex: 0,
});
const nameOf = ({ index, languageIndex }: Rank): string => `${index}/${languageIndex}`;

const shape = fc.record({
  targets: fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 4 }),
  openMax: fc.integer({ min: 1, max: 8 }),
  waitingMax: fc.integer({ min: 1, max: 8 }),
  consecutiveDropsMax: fc.integer({ min: 1, max: 4 }),
  dropPercent: fc.constantFrom<number[]>(0, 20, 60, 100),
  order: fc.nat({ max: 1_000_000 }),
});

type Shape = typeof shape extends fc.Arbitrary<infer T> ? T : never;

/** Runs a schedule to its end, conversations finishing in any order, some sent back, some reporting twice. */
function drive(schedule: Schedule, { openMax, waitingMax, dropPercent, order }: Shape) {
  const generating: Rank[] = [];
  const waiting = new Map<string, Rank>();
  const opened: Rank[] = [];
  const settled: Rank[] = [];
  for (let steps = 0; !schedule.done; steps += 1) {
    expect(steps).toBeLessThan(5_000);
    for (let rank = schedule.admit(); rank !== null; rank = schedule.admit()) {
      generating.push(rank);
      opened.push(rank);
    }
    expect(schedule.openCount).toBe(generating.length);
    expect(schedule.waitingCount).toBe(waiting.size);
    expect(schedule.openCount).toBeLessThanOrEqual(openMax + 1);
    expect(schedule.openCount + schedule.waitingCount).toBeLessThanOrEqual(openMax + waitingMax);

    const first = schedule.frontier();
    const next = first === null ? undefined : waiting.get(nameOf(first));
    const choice = below([order, steps], 100);
    if (next !== undefined && (choice < 50 || generating.length === 0)) {
      waiting.delete(nameOf(next));
      if (choice < 5) {
        schedule.setFinished(next, false);
        generating.push(next);
        continue;
      }
      settled.push(next);
      const progress = schedule.settle(
        next,
        below([order, 'drop', next.index, next.languageIndex], 100) < dropPercent ? 'dropped' : 'committed',
      );
      // A report that was on its way when its rank was settled changes nothing.
      schedule.setFinished(next, true);
      if (progress.ended === null) continue;
      for (const list of [generating, [...waiting.values()]]) {
        for (const rank of list.filter((known) => known.languageIndex === next.languageIndex)) {
          waiting.delete(nameOf(rank));
          if (generating.includes(rank)) generating.splice(generating.indexOf(rank), 1);
          schedule.setFinished(rank, true);
        }
      }
      continue;
    }
    expect(generating.length, 'somebody can always go on').toBeGreaterThan(0);
    const [done] = generating.splice(below([order, 'which', steps], generating.length), 1) as [Rank];
    waiting.set(nameOf(done), done);
    schedule.setFinished(done, true);
    schedule.setFinished(done, true);
  }
  return { opened, settled };
}

test('in whatever order conversations finish: settled in rank order, exact counts, bounded windows, no deadlock', () => {
  fc.assert(
    fc.property(shape, fc.nat({ max: 100 }), (given, turnSeed) => {
      const { targets, consecutiveDropsMax } = given;
      const schedule = createSchedule(targets.map(fresh), given, ({ index, languageIndex }) =>
        below([turnSeed, index, languageIndex], 10),
      );
      const { opened, settled } = drive(schedule, given);
      expect(settled).toEqual([...settled].sort(compareRanks));
      expect(new Set(opened.map(nameOf)).size).toBe(opened.length);
      for (const {
        languageIndex,
        target,
        committed,
        dropped,
        consecutiveDrops,
        ended,
      } of schedule.progress()) {
        const own = settled.filter((rank) => rank.languageIndex === languageIndex);
        expect(own.map((rank) => rank.index)).toEqual(own.map((_, position) => position));
        expect(committed + dropped).toBe(own.length);
        if (ended === 'reached') {
          expect(committed).toBe(target);
          // S2: as many indexes as it needs, not one more.
          expect(opened.filter((rank) => rank.languageIndex === languageIndex).length).toBe(own.length);
        } else {
          expect(ended).toBe('failed');
          expect(committed).toBeLessThan(target);
          expect(consecutiveDrops).toBe(consecutiveDropsMax);
        }
      }
      expect(schedule.admit()).toBeNull();
      expect(schedule.frontier()).toBeNull();
      expect(schedule.waitingCount).toBe(0);
    }),
    { numRuns: 300 },
  );
});

test('a run that goes on from its commits opens exactly what is left', () => {
  fc.assert(
    fc.property(
      shape,
      fc.array(fc.record({ committed: fc.nat({ max: 12 }), dropped: fc.nat({ max: 5 }) }), {
        minLength: 4,
        maxLength: 4,
      }),
      (given, before) => {
        const calm = { ...given, dropPercent: 0 };
        const starts = given.targets.map((target, i): LaneStart => {
          const { committed, dropped } = before[i] as { committed: number; dropped: number };
          const kept = Math.min(committed, target);
          return { target, committed: kept, dropped, consecutiveDrops: 0, nextIndex: kept + dropped };
        });
        const schedule = createSchedule(starts, given, () => 1);
        const { opened } = drive(schedule, calm);
        for (const [languageIndex, start] of starts.entries()) {
          const own = opened.filter((rank) => rank.languageIndex === languageIndex).map((rank) => rank.index);
          expect(own.sort((a, b) => a - b)).toEqual(
            Array.from({ length: start.target - start.committed }, (_, i) => start.nextIndex + i),
          );
        }
      },
    ),
    { numRuns: 100 },
  );
});

describe('admission', () => {
  const admitAll = (schedule: Schedule): string[] => {
    const ranks: string[] = [];
    for (let rank = schedule.admit(); rank !== null; rank = schedule.admit()) ranks.push(nameOf(rank));
    return ranks;
  };

  test('D2: languages side by side, a slot that gets free is filled at once', () => {
    const schedule = createSchedule(
      [fresh(9), fresh(9)],
      { openMax: 4, waitingMax: 8, consecutiveDropsMax: 3 },
      () => 1,
    );
    expect(admitAll(schedule)).toEqual(['0/0', '0/1', '1/0', '1/1']);
    schedule.setFinished({ index: 1, languageIndex: 0 }, true);
    expect(admitAll(schedule)).toEqual(['2/0']);
  });

  test('the last window starts its longest conversations first', () => {
    const turns = [3, 3, 1, 9, 4, 7];
    const schedule = createSchedule(
      [fresh(6)],
      { openMax: 4, waitingMax: 64, consecutiveDropsMax: 3 },
      ({ index }) => turns[index] ?? 0,
    );
    expect(admitAll(schedule)).toEqual(['0/0', '1/0', '3/0', '5/0']);
    schedule.setFinished({ index: 0, languageIndex: 0 }, true);
    expect(admitAll(schedule)).toEqual(['4/0']);
  });

  test('what the whole window waits for is opened even when it was put off for being short', () => {
    const schedule = createSchedule(
      [fresh(3)],
      { openMax: 3, waitingMax: 1, consecutiveDropsMax: 3 },
      ({ index }) => index,
    );
    expect(admitAll(schedule)).toEqual(['2/0', '1/0', '0/0']);
    const narrow = createSchedule(
      [fresh(2)],
      { openMax: 2, waitingMax: 1, consecutiveDropsMax: 3 },
      ({ index }) => index,
    );
    expect(nameOf(narrow.admit() as Rank)).toBe('1/0');
    narrow.setFinished({ index: 1, languageIndex: 0 }, true);
    expect(admitAll(narrow)).toEqual(['0/0']);
  });

  test('A9: a language that fails ends alone; the others reach their target', () => {
    const schedule = createSchedule(
      [fresh(3), fresh(3)],
      { openMax: 2, waitingMax: 4, consecutiveDropsMax: 2 },
      () => 1,
    );
    while (!schedule.done) {
      admitAll(schedule);
      const rank = schedule.frontier() as Rank;
      schedule.setFinished(rank, true);
      schedule.settle(rank, rank.languageIndex === 0 ? 'dropped' : 'committed');
    }
    expect(schedule.progress()).toMatchObject([
      { ended: 'failed', committed: 0, dropped: 2 },
      { ended: 'reached', committed: 3, dropped: 0 },
    ]);
  });

  test('only what comes next may be settled', () => {
    const schedule = createSchedule(
      [fresh(3)],
      { openMax: 3, waitingMax: 3, consecutiveDropsMax: 2 },
      () => 1,
    );
    admitAll(schedule);
    expect(() => schedule.settle({ index: 1, languageIndex: 0 }, 'committed')).toThrow(/rank order/);
  });
});
