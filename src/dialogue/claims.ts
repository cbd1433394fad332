/**
 * Questions that open conversations have asked: a guess about what lower ranks will commit, never
 * more (ARCHITECTURE.md, "Commit in rank order"). Losing it all costs model calls and nothing else.
 *
 * Owns: for each key the ranks that claim it; for each rank its keys. Bounded by the open window.
 */
import type { Rank } from './schedule.ts';
import { compareRanks } from './schedule.ts';

export interface Claims {
  /** The lowest rank below `rank` that claims `key`, or null; claims it for `rank` when there is none. */
  claim(rank: Rank, key: string): Rank | null;
  /** Forgets what `rank` claims, when it is settled or begins a turn anew. */
  release(rank: Rank): void;
  readonly size: number;
}

export function createClaims(): Claims {
  const ranksByKey = new Map<string, Rank[]>();
  const keysByRank = new Map<string, Set<string>>();
  const nameOf = (rank: Rank): string => `${rank.index}/${rank.languageIndex}`;

  return {
    claim(rank, key) {
      const holders = ranksByKey.get(key) ?? [];
      const lower = holders.filter((holder) => compareRanks(holder, rank) < 0).sort(compareRanks)[0];
      if (lower !== undefined) return lower;
      if (!holders.some((holder) => compareRanks(holder, rank) === 0))
        ranksByKey.set(key, [...holders, rank]);
      const own = keysByRank.get(nameOf(rank)) ?? new Set();
      keysByRank.set(nameOf(rank), own.add(key));
      return null;
    },
    release(rank) {
      for (const key of keysByRank.get(nameOf(rank)) ?? []) {
        const left = (ranksByKey.get(key) ?? []).filter((holder) => compareRanks(holder, rank) !== 0);
        if (left.length > 0) ranksByKey.set(key, left);
        else ranksByKey.delete(key);
      }
      keysByRank.delete(nameOf(rank));
    },
    get size() {
      return ranksByKey.size;
    },
  };
}
