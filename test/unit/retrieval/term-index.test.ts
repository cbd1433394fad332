import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TermIndex } from '../../../src/retrieval/term-index.ts';

const word = fc.constantFrom('market', 'fruit', 'price', 'board', 'hour', 'السوق', '市場');
const passage = fc.array(word, { maxLength: 12 });
const passages = fc.array(passage, { minLength: 1, maxLength: 30 });

function indexOf(texts: readonly (readonly string[])[]): TermIndex {
  const index = new TermIndex();
  for (const text of texts) index.add(text.join(' '));
  return index;
}

/** BM25 as it is written down, one passage at a time. */
function score(texts: readonly (readonly string[])[], row: number, terms: readonly string[]): number {
  const text = texts[row] ?? [];
  const mean = texts.reduce((sum, { length }) => sum + length, 0) / texts.length;
  return terms.reduce((sum, term) => {
    const count = text.filter((candidate) => candidate === term).length;
    if (count === 0) return sum;
    const having = texts.filter((candidate) => candidate.includes(term)).length;
    const rarity = Math.log(1 + (texts.length - having + 0.5) / (having + 0.5));
    return sum + (rarity * count * 2.2) / (count + 1.2 * (0.25 + (0.75 * text.length) / mean));
  }, 0);
}

const terms = fc.uniqueArray(word, { minLength: 1 });

describe('full-text search in memory', () => {
  it('gives every passage with a term, with its BM25 score', () => {
    fc.assert(
      fc.property(passages, terms, (texts, asked) => {
        const found = indexOf(texts).matching(asked, texts.length);
        const having = texts.flatMap((text, row) => (asked.some((term) => text.includes(term)) ? [row] : []));
        expect(found.map(({ row }) => row).toSorted((a, b) => a - b)).toEqual(having);
        for (const { row, score: given } of found) expect(given).toBeCloseTo(score(texts, row, asked), 9);
      }),
    );
  });

  it('cuts at a limit, never between equals', () => {
    fc.assert(
      fc.property(passages, terms, fc.integer({ min: 1, max: 40 }), (texts, asked, limit) => {
        const index = indexOf(texts);
        const all = index.matching(asked, texts.length);
        const last = all.map((found) => found.score).toSorted((a, b) => b - a)[limit - 1] ?? 0;
        expect(index.matching(asked, limit)).toEqual(all.filter((found) => found.score >= last));
      }),
    );
  });

  it('answers a search as if there had been none before', () => {
    fc.assert(
      fc.property(passages, terms, terms, (texts, first, second) => {
        const index = indexOf(texts);
        index.matching(first, 3);
        expect(index.matching(second, 3)).toEqual(indexOf(texts).matching(second, 3));
      }),
    );
  });

  it('knows no term that is not there, and no passage of an empty index', () => {
    expect(indexOf([['market'], []]).matching(['constructor', ''], 5)).toEqual([]);
    expect(new TermIndex().matching(['market'], 5)).toEqual([]);
  });
});
