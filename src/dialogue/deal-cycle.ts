/**
 * One cycle of a deal: every item once, every group spread evenly over the cycle.
 *
 * This is apportionment over time (Tijdeman, "The chairman assignment problem", 1980) done the way
 * real-time schedulers do it (Baruah et al., "Proportionate progress", 1996): with m of M items, a
 * group's k-th item may be dealt from ⌊k·M/m⌋ on and must be before ⌈(k+1)·M/m⌉. Dealing the most
 * urgent item that may be dealt meets every limit, so no group is ever a whole deal from its share.
 */
import { type RandomKey, shuffled } from '../kernel/random.ts';

export interface CycleItem {
  readonly group: string;
  readonly item: string;
}

/** Groups and items are taken in the order of `items`; equal input gives equal output. */
export function dealCycle(key: RandomKey, items: readonly CycleItem[]): CycleItem[] {
  const total = items.length;
  const groups = shuffledGroups(key, items);
  const opening: number[][] = Array.from({ length: total }, () => []);
  opening[0] = groups.map((_, index) => index);
  const next = groups.map(() => 0);
  const urgent: number[] = [];
  const dealt: CycleItem[] = [];

  for (let slot = 0; slot < total; slot += 1) {
    for (const index of opening[slot] ?? []) {
      const size = (groups[index] as readonly CycleItem[]).length;
      const deadline = Math.ceil((((next[index] as number) + 1) * total) / size);
      // The groups come shuffled, so their positions break ties differently in every cycle.
      push(urgent, deadline * groups.length + index);
    }
    const index = pop(urgent) % groups.length;
    const group = groups[index] as readonly CycleItem[];
    const position = next[index] as number;
    dealt.push(group[position] as CycleItem);
    next[index] = position + 1;
    const opens = Math.floor(((position + 1) * total) / group.length);
    opening[Math.max(opens, slot + 1)]?.push(index);
  }
  return dealt;
}

function shuffledGroups(key: RandomKey, items: readonly CycleItem[]): (readonly CycleItem[])[] {
  const byGroup = new Map<string, CycleItem[]>();
  for (const item of items) {
    const group = byGroup.get(item.group);
    if (group === undefined) byGroup.set(item.group, [item]);
    else group.push(item);
  }
  const groups = [...byGroup].sort(([a], [b]) => (a < b ? -1 : 1));
  return shuffled([...key, 'groups'], groups).map(([group, own]) =>
    shuffled(
      [...key, 'items', group],
      own.sort((a, b) => (a.item < b.item ? -1 : 1)),
    ),
  );
}

/** A binary min-heap of numbers in an array. */
function push(heap: number[], value: number): void {
  let at = heap.push(value) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if ((heap[parent] as number) <= value) break;
    heap[at] = heap[parent] as number;
    at = parent;
  }
  heap[at] = value;
}

/** The heap must not be empty: the limits above leave no slot without an item. */
function pop(heap: number[]): number {
  const top = heap[0] as number;
  const last = heap.pop() as number;
  let at = 0;
  while (2 * at + 1 < heap.length) {
    let child = 2 * at + 1;
    if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child += 1;
    if ((heap[child] as number) >= last) break;
    heap[at] = heap[child] as number;
    at = child;
  }
  if (heap.length > 0) heap[at] = last;
  return top;
}
