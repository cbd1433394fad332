/** Sizes and variety of texts: words, estimated tokens, distinct words and pairs, repeated questions. */
import { questionKey } from '../../dialogue/question-key.ts';
import { rounded } from './distributions.ts';

/** White space as Python's `str.split()` and `strip()` see it. */
// oxlint-disable-next-line no-control-regex
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

export const wordsOf = (text: string): string[] => text.split(SPACE).filter((word) => word !== '');

/** A quarter of the characters, rounded up: the usual estimate where no tokeniser is at hand. */
export function tokensOf(text: string): number {
  const trimmed = text.replace(EDGES, '');
  let characters = 0;
  for (const _ of trimmed) characters += 1;
  return Math.ceil(characters / 4);
}

const EDGES = new RegExp(`^${SPACE.source}|${SPACE.source}$`, 'g');

/** Words of each language that variety is measured over: ratios over unequal amounts of text do not compare. */
export const DISTINCT_WORDS_MAX = 200_000;

/**
 * Distinct-1 and distinct-2 (Li et al., 2016): distinct words and pairs of neighbouring words, as shares of
 * all of them, over the first `DISTINCT_WORDS_MAX` words. Pairs do not reach over two messages.
 */
export class WordVariety {
  readonly #ids = new Map<string, number>();
  readonly #pairs = new Set<number>();
  #words = 0;
  #pairCount = 0;

  add(words: readonly string[]): void {
    let previous = -1;
    for (const word of words) {
      if (this.#words >= DISTINCT_WORDS_MAX) return;
      const id = this.#idOf(word.toLowerCase());
      this.#words += 1;
      if (previous >= 0) {
        this.#pairs.add(previous * DISTINCT_WORDS_MAX + id);
        this.#pairCount += 1;
      }
      previous = id;
    }
  }

  get words(): number {
    return this.#words;
  }

  get distinct1(): number | null {
    return this.#words === 0 ? null : rounded(this.#ids.size / this.#words);
  }

  get distinct2(): number | null {
    return this.#pairCount === 0 ? null : rounded(this.#pairs.size / this.#pairCount);
  }

  #idOf(word: string): number {
    const known = this.#ids.get(word);
    if (known !== undefined) return known;
    const id = this.#ids.size;
    this.#ids.set(word, id);
    return id;
  }
}

/** Questions that are compared with each other; more are not counted, and the statistics say so. */
export const QUESTIONS_MAX = 1_000_000;

/** How many questions differ by the key that keeps them apart in a dataset (`dialogue/question-key.ts`). */
export class QuestionVariety {
  readonly #keys = new Set<number>();
  #counted = 0;
  #total = 0;

  add(question: string): void {
    this.#total += 1;
    if (this.#counted >= QUESTIONS_MAX) return;
    this.#counted += 1;
    // 52 bits of the hash: two of a million questions share them once in 9,000 datasets.
    this.#keys.add(Number.parseInt(questionKey(question).slice(0, 13), 16));
  }

  get figures(): QuestionFigures {
    const unique = this.#keys.size;
    return {
      total: this.#total,
      compared: this.#counted,
      unique,
      unique_share: this.#counted === 0 ? null : rounded(unique / this.#counted),
    };
  }
}

export interface QuestionFigures {
  readonly total: number;
  /** Below `total` when there are more than are compared. */
  readonly compared: number;
  readonly unique: number;
  readonly unique_share: number | null;
}
