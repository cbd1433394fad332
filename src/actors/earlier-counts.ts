/** Runs that were begun by 0.1.0: what they had before this store knew them counts like what it holds. */
import type { RunCounts } from '../ports/store.ts';

/** Conversations of one language that were in the files, or dropped, when the run was taken over. */
export type EarlierCounts = Omit<RunCounts, 'consecutiveDrops'>;

/** Commits follow `earlier` without a gap in the indexes. */
export function withEarlier(counts: readonly RunCounts[], earlier: readonly EarlierCounts[]): RunCounts[] {
  const languageIndexes = new Set([...earlier, ...counts].map((count) => count.languageIndex));
  return [...languageIndexes]
    .sort((a, b) => a - b)
    .map((languageIndex) => {
      const before = earlier.find((count) => count.languageIndex === languageIndex);
      const stored = counts.find((count) => count.languageIndex === languageIndex) ?? noneOf(languageIndex);
      return before === undefined ? stored : added(before, stored);
    });
}

const noneOf = (languageIndex: number): RunCounts => ({
  languageIndex,
  committed: 0,
  dropped: 0,
  consecutiveDrops: 0,
  nextIndex: 0,
  turns: 0,
  dropReasons: {},
});

function added(before: EarlierCounts, stored: RunCounts): RunCounts {
  const reasons = new Set([...Object.keys(before.dropReasons), ...Object.keys(stored.dropReasons)]);
  return {
    languageIndex: stored.languageIndex,
    committed: before.committed + stored.committed,
    dropped: before.dropped + stored.dropped,
    consecutiveDrops: stored.consecutiveDrops,
    nextIndex: before.nextIndex + stored.committed + stored.dropped,
    turns: before.turns + stored.turns,
    dropReasons: Object.fromEntries(
      [...reasons].map((reason) => [
        reason,
        (before.dropReasons[reason] ?? 0) + (stored.dropReasons[reason] ?? 0),
      ]),
    ),
  };
}
