/** Orders rows by score, and merges orders. Equal scores are ordered by passage id, never by chance. */
import type { ScoredRow } from './passage-table.ts';

/** The constant of reciprocal-rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009). */
const RRF_K = 60;

export type IdOf = (row: number) => string;

export function ranked(rows: readonly ScoredRow[], idOf: IdOf): ScoredRow[] {
  return [...rows].sort((a, b) => b.score - a.score || (idOf(a.row) < idOf(b.row) ? -1 : 1));
}

/** @param orders each best first; a row adds 1 / (60 + rank) for each order that it stands in */
export function fused(orders: readonly (readonly number[])[], idOf: IdOf): number[] {
  const scores = new Map<number, number>();
  for (const order of orders) {
    order.forEach((row, i) => scores.set(row, (scores.get(row) ?? 0) + 1 / (RRF_K + i + 1)));
  }
  return ranked(
    Array.from(scores, ([row, score]) => ({ row, score })),
    idOf,
  ).map(({ row }) => row);
}

/**
 * The best `depth` rows of a search that cuts anywhere among equal scores: asks for a few more, and
 * for more again while the cut goes through a group of equals, up to `most`.
 */
export async function topRows(
  search: (limit: number) => readonly ScoredRow[] | Promise<readonly ScoredRow[]>,
  depth: number,
  most: number,
  idOf: IdOf,
): Promise<number[]> {
  for (let limit = depth + 8; ; limit *= 4) {
    const rows = ranked(await search(Math.min(limit, most)), idOf);
    const cut = rows[depth - 1];
    const isComplete = rows.length < limit || limit >= most;
    if (cut === undefined || isComplete || (rows.at(-1)?.score ?? 0) < cut.score)
      return rows.slice(0, depth).map(({ row }) => row);
  }
}
