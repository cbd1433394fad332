import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createDealOrder, type DealGroup } from '../../../src/dialogue/deal.ts';

const groupsOf = (
  sizes: readonly number[],
  uses: (group: number, item: number) => number = () => 0,
): DealGroup[] =>
  sizes.map((size, group) => ({
    id: `g${group}`,
    items: Array.from({ length: size }, (_, item) => ({ id: `g${group}i${item}`, uses: uses(group, item) })),
  }));
const deals = (groups: readonly DealGroup[], from: number, count: number, key = 'k') => {
  const order = createDealOrder([key], groups);
  return Array.from({ length: count }, (_, n) => order.at(from + n));
};
const sizesOf = fc
  .array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 12 })
  .filter((sizes) => sizes.some((size) => size > 0));

describe('unused items', () => {
  test('C7: every cycle deals every item once', () => {
    fc.assert(
      fc.property(sizesOf, fc.integer({ min: 0, max: 3 }), (sizes, cycle) => {
        const groups = groupsOf(sizes);
        const items = groups.flatMap((group) => group.items.map(({ id }) => id));
        const dealt = deals(groups, cycle * items.length, items.length).map((deal) => deal?.item);
        expect(new Set(dealt)).toEqual(new Set(items));
      }),
    );
  });

  test('after any number of deals every group is less than one deal from its share', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 25 }), (sizes) => {
        const total = sizes.reduce((sum, size) => sum + size, 0);
        const dealt = sizes.map(() => 0);
        let furthest = 0;
        for (const [n, deal] of deals(groupsOf(sizes), 0, 2 * total).entries()) {
          const group = Number(deal?.group.slice(1));
          dealt[group] = (dealt[group] ?? 0) + 1;
          for (const [index, size] of sizes.entries()) {
            furthest = Math.max(furthest, Math.abs((dealt[index] ?? 0) - ((n + 1) * size) / total));
          }
        }
        expect(furthest).toBeLessThan(1);
      }),
      { numRuns: 40 },
    );
  });

  test('cycles differ from each other, and so do keys', () => {
    const groups = groupsOf([5, 5, 5, 5]);
    const first = deals(groups, 0, 20);
    expect(deals(groups, 20, 20)).not.toEqual(first);
    expect(deals(groups, 0, 20, 'other')).not.toEqual(first);
  });

  test('ties go to different groups over the cycles', () => {
    const groups = groupsOf([1, 1, 1, 1]);
    const openers = new Set(Array.from({ length: 40 }, (_, cycle) => deals(groups, cycle * 4, 1)[0]?.group));
    expect(openers.size).toBe(4);
  });
});

describe('items with earlier uses', () => {
  const used = fc
    .array(fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 6 }), { minLength: 1, maxLength: 6 })
    .filter((groups) => groups.flat().length > 0);

  test('the least used come first, until all are equal', () => {
    fc.assert(
      fc.property(used, (usesOfGroups) => {
        const groups = groupsOf(
          usesOfGroups.map(({ length }) => length),
          (group, item) => usesOfGroups[group]?.[item] ?? 0,
        );
        const uses = new Map(
          groups.flatMap((group) => group.items.map((item) => [item.id, item.uses] as const)),
        );
        const order = createDealOrder(['k'], groups);
        const highest = Math.max(...uses.values());
        const catchUp = [...uses.values()].reduce((sum, count) => sum + highest - count, 0);
        for (let n = 0; n < catchUp + uses.size; n += 1) {
          const item = order.at(n)?.item ?? '';
          expect(uses.get(item)).toBe(Math.min(...uses.values()));
          uses.set(item, (uses.get(item) ?? 0) + 1);
        }
        expect(new Set(uses.values())).toEqual(new Set([highest + 1]));
      }),
    );
  });

  test('a single new item among much used ones is dealt alone until it has caught up', () => {
    const order = createDealOrder(
      ['k'],
      [
        {
          id: 'old',
          items: [
            { id: 'a', uses: 1_000_000 },
            { id: 'b', uses: 1_000_000 },
          ],
        },
        { id: 'new', items: [{ id: 'c', uses: 0 }] },
      ],
    );
    expect(order.at(0)?.item).toBe('c');
    expect(order.at(999_999)?.item).toBe('c');
    expect(new Set([1_000_000, 1_000_001, 1_000_002].map((n) => order.at(n)?.item))).toEqual(
      new Set(['a', 'b', 'c']),
    );
  });
});

describe('a function of its arguments', () => {
  test('whatever was asked before, and however the input is ordered', () => {
    fc.assert(
      fc.property(sizesOf, fc.array(fc.nat(500), { maxLength: 20 }), (sizes, asked) => {
        const groups = groupsOf(sizes, (group, item) => (group + item) % 3);
        const shuffled = groups.toReversed().map((group) => ({ ...group, items: group.items.toReversed() }));
        const order = createDealOrder(['k'], groups);
        for (const n of asked) expect(order.at(n)).toEqual(createDealOrder(['k'], shuffled).at(n));
      }),
    );
  });

  test('without items there is nothing to deal', () => {
    expect(createDealOrder(['k'], []).at(3)).toBeNull();
    expect(createDealOrder(['k'], [{ id: 'g', items: [] }]).at(0)).toBeNull();
  });

  test('twenty thousand passages are dealt quickly', () => {
    const order = createDealOrder(
      ['k'],
      groupsOf(Array.from({ length: 400 }, (_, group) => 20 + (group % 60))),
    );
    const start = performance.now();
    for (let n = 0; n < 20_000; n += 1) order.at(n);
    expect(performance.now() - start).toBeLessThan(2_000);
  });
});
