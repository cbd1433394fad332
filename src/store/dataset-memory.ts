import type { DatasetMemory } from '../ports/store.ts';

/**
 * Puts the sums of a dataset's ledger into one fixed order, so that everything planned from them is the
 * same on every store and every server, whatever its collation (I5).
 */
export function orderedMemory(memory: DatasetMemory): DatasetMemory {
  return {
    passageUses: memory.passageUses.toSorted(
      (a, b) =>
        compare(a.language ?? '', b.language ?? '') ||
        Number(a.language !== null) - Number(b.language !== null) ||
        compare(a.passageId, b.passageId) ||
        compare(a.source, b.source),
    ),
    seedUses: memory.seedUses.toSorted((a, b) => compare(a.seedQuestionHash, b.seedQuestionHash)),
    recentQuestions: memory.recentQuestions,
  };
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
