import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createClaims } from '../../../src/dialogue/claims.ts';
import { compareRanks, type Rank } from '../../../src/dialogue/schedule.ts';

const rank = fc.record({ index: fc.nat({ max: 4 }), languageIndex: fc.nat({ max: 2 }) });

test('C5: open conversations see each other: the lower rank keeps its question, the higher one hears of it', () => {
  const claims = createClaims();
  const [low, high] = [
    { index: 2, languageIndex: 1 },
    { index: 3, languageIndex: 0 },
  ];
  expect(claims.claim(low, 'when is high water')).toBeNull();
  expect(claims.claim(high, 'when is high water')).toEqual(low);
  // The other way round it is only a guess: the lower rank goes first, and the commit decides.
  expect(claims.claim(high, 'who keeps the buoys')).toBeNull();
  expect(claims.claim(low, 'who keeps the buoys')).toBeNull();
});

test('a claim answers as a list of who asked what and was not told off would; nothing is left when all are released', () => {
  const act = fc.oneof(
    fc.record({ type: fc.constant('claim' as const), rank, key: fc.constantFrom('a', 'b', 'c') }),
    fc.record({ type: fc.constant('release' as const), rank }),
  );
  fc.assert(
    fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
      const claims = createClaims();
      let list: { readonly rank: Rank; readonly key: string }[] = [];
      for (const each of acts) {
        if (each.type === 'release') {
          claims.release(each.rank);
          list = list.filter((claim) => compareRanks(claim.rank, each.rank) !== 0);
          continue;
        }
        const lower = list
          .filter((claim) => claim.key === each.key && compareRanks(claim.rank, each.rank) < 0)
          .map((claim) => claim.rank)
          .sort(compareRanks)[0];
        expect(claims.claim(each.rank, each.key)).toEqual(lower ?? null);
        if (lower === undefined) list.push({ rank: each.rank, key: each.key });
        expect(claims.size).toBe(new Set(list.map((claim) => claim.key)).size);
      }
      for (const { rank: holder } of list) claims.release(holder);
      expect(claims.size).toBe(0);
    }),
  );
});
