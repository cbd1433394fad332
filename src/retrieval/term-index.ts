/**
 * Full-text search of a small index, in memory. A query of LanceDB costs about a millisecond of CPU on
 * several threads, however few rows there are; this costs ten microseconds for a hundred passages, and
 * half a millisecond at the limit. It scores as LanceDB does (BM25 with k1 = 1.2 and b = 0.75), so that an
 * index which outgrows memory keeps its answers.
 *
 * Owns the postings; they are filled once, in row order, and then only read.
 */
import type { ScoredRow } from './passage-table.ts';

/** In characters of text. Postings take about five bytes for each, and 0.1 s to make for a mebi. */
export const SEARCHED_IN_MEMORY_MAX = 8 * 1024 * 1024;

const K1 = 1.2;
const B = 0.75;

/** Row and count of one term in one passage, one after the other. */
type Postings = number[];

export class TermIndex {
  readonly #postings = new Map<string, Postings>();
  readonly #lengths: number[] = [];
  #totalLength = 0;
  /** Sums of one search; all zero between searches. */
  #scores = new Float64Array(0);

  /** @param terms those of the next row, separated by spaces, as the table has them */
  add(terms: string): void {
    const row = this.#lengths.length;
    const words = terms === '' ? [] : terms.split(' ');
    this.#lengths.push(words.length);
    this.#totalLength += words.length;
    for (const word of words) this.#count(word, row);
  }

  /** Every row with one of the (distinct) terms that scores at least as well as the one at `limit`; in no order. */
  matching(terms: readonly string[], limit: number): ScoredRow[] {
    const rows: number[] = [];
    const scores = this.#scoresFor(terms, rows);
    const threshold =
      rows.length <= limit
        ? 0
        : nthBest(
            rows.map((row) => scores[row] ?? 0),
            limit,
          );
    const best: ScoredRow[] = [];
    for (const row of rows) {
      const score = scores[row] ?? 0;
      if (score >= threshold) best.push({ row, score });
      scores[row] = 0;
    }
    return best;
  }

  /** @param rows gets the rows that have a score */
  #scoresFor(terms: readonly string[], rows: number[]): Float64Array {
    const passages = this.#lengths.length;
    if (this.#scores.length < passages) this.#scores = new Float64Array(passages);
    const scores = this.#scores;
    const meanLength = this.#totalLength / passages;
    for (const term of terms) {
      const postings = this.#postings.get(term) ?? [];
      const found = postings.length / 2;
      const rarity = Math.log(1 + (passages - found + 0.5) / (found + 0.5));
      for (let i = 0; i < postings.length; i += 2) {
        const row = postings[i] ?? 0;
        const count = postings[i + 1] ?? 0;
        const length = (this.#lengths[row] ?? 0) / meanLength;
        if (scores[row] === 0) rows.push(row);
        scores[row] = (scores[row] ?? 0) + (rarity * count * (K1 + 1)) / (count + K1 * (1 - B + B * length));
      }
    }
    return scores;
  }

  #count(word: string, row: number): void {
    const postings = this.#postings.get(word);
    if (postings === undefined) this.#postings.set(word, [row, 1]);
    else if (postings.at(-2) === row) postings[postings.length - 1] = (postings.at(-1) ?? 0) + 1;
    else postings.push(row, 1);
  }
}

/** @param n from 1 */
function nthBest(scores: readonly number[], n: number): number {
  const ascending = Float64Array.from(scores).sort();
  return ascending[ascending.length - n] ?? 0;
}
