/**
 * Deals items out evenly: an endless sequence in which no item comes twice before every other one of
 * its level, and in which groups (documents, topics) advance together, in proportion to their size.
 *
 * Owns a cache of dealt cycles and nothing else. Invariants:
 * - D1 `at(n)` is a function of (key, groups, n): not of earlier calls, nor of the order of the input.
 * - D2 Items with fewer prior uses are dealt first, level by level, until all are equal; from there
 *   on every cycle deals every item once.
 * - D3 After any number of deals of a cycle, every group is less than one deal away from its share.
 * - D4 Memory is proportional to the number of items, however far apart their uses are.
 */
import { invariant } from '../kernel/errors.ts';
import type { RandomKey } from '../kernel/random.ts';
import { dealCycle } from './deal-cycle.ts';

export interface DealGroup {
  readonly id: string;
  readonly items: readonly DealItem[];
}

export interface DealItem {
  /** Unique within its group. */
  readonly id: string;
  /** How often it was used before this sequence starts. */
  readonly uses: number;
}

export interface Dealt {
  readonly group: string;
  readonly item: string;
}

export interface DealOrder {
  /** The n-th deal, from 0; null when there are no items. */
  at(n: number): Dealt | null;
}

/** Cycles of one set of items, one after the other. */
interface Stretch {
  /** Position of its first deal. */
  readonly start: number;
  /** Deals of the cycles before it, counted in cycles; part of the random key. */
  readonly firstCycle: number;
  /** Its items are the first ones of all items in the order of their uses. */
  readonly cycleLength: number;
}

/** Callers look around the front of the sequence, some of them at its start. */
const CACHED_CYCLES = 4;

export function createDealOrder(key: RandomKey, groups: readonly DealGroup[]): DealOrder {
  const items = leastUsedFirst(groups);
  const stretches = planStretches(items);
  const cycles = new Map<number, readonly Dealt[]>();

  const cycleOf = (stretch: Stretch, cycle: number): readonly Dealt[] => {
    const known = cycles.get(cycle);
    if (known !== undefined) return known;
    const dealt = dealCycle([...key, 'deal', cycle], items.slice(0, stretch.cycleLength));
    cycles.set(cycle, dealt);
    if (cycles.size > CACHED_CYCLES) cycles.delete(cycles.keys().next().value as number);
    return dealt;
  };

  return {
    at(n) {
      invariant(Number.isSafeInteger(n) && n >= 0, `a deal has a position from 0, not ${n}`);
      const stretch = stretches.findLast(({ start }) => start <= n);
      if (stretch === undefined) return null;
      const offset = n - stretch.start;
      const cycle = stretch.firstCycle + Math.floor(offset / stretch.cycleLength);
      return cycleOf(stretch, cycle)[offset % stretch.cycleLength] ?? null;
    },
  };
}

interface UsedItem extends Dealt {
  readonly uses: number;
}

function leastUsedFirst(groups: readonly DealGroup[]): UsedItem[] {
  const items = groups.flatMap((group) =>
    group.items.map(({ id, uses }) => ({ group: group.id, item: id, uses })),
  );
  for (const { uses } of items)
    invariant(Number.isSafeInteger(uses) && uses >= 0, `uses are counted from 0, not ${uses}`);
  return items.sort(
    (a, b) => a.uses - b.uses || compareText(a.group, b.group) || compareText(a.item, b.item),
  );
}

/**
 * With uses u0 < u1 < … < uk, the items at u0 are dealt u1 − u0 times, then those up to u1 are dealt
 * u2 − u1 times, and so on; from uk on all are dealt for ever.
 */
function planStretches(items: readonly UsedItem[]): Stretch[] {
  const stretches: Stretch[] = [];
  let start = 0;
  let firstCycle = 0;
  for (let end = 1; end <= items.length; end += 1) {
    const level = (items[end - 1] as UsedItem).uses;
    const next = items[end]?.uses;
    if (next === level) continue;
    stretches.push({ start, firstCycle, cycleLength: end });
    if (next === undefined) break;
    start += end * (next - level);
    firstCycle += next - level;
  }
  return stretches;
}

/** By code units: the same everywhere, whatever the locale. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
