import { describe, expect, it } from 'vitest';
import { passageTerms, QUERY_TERMS_MAX, queryTerms } from '../../../src/retrieval/analysis.ts';

const meets = (passage: string, query: string): boolean => {
  const terms = new Set(passageTerms(passage));
  return queryTerms(query).some((term) => terms.has(term));
};

describe('search terms', () => {
  it.each([
    ['The market opens', 'MARKET'],
    ["L'été est chaud", 'ete'],
    ['Straße und Öl', 'strasse'],
    ['يفتح السوق في الثامنة', 'سوق'],
    ['يفتح السوق في الثامنة', 'السُّوق'],
    ['الأسعار ثابتة', 'اسعار'],
    ['市場は午前八時に開きます', '市場'],
    ['市场早上八点开门', '八点'],
    ['ตลาดเปิดตอนแปดโมงเช้า', 'ตลาด'],
    ['Рынок открывается', 'рынок'],
    ['room ١٢', '12'],
    ['한국 시장', '시장'],
    ['बाज़ार आठ बजे खुलता है', 'बाज़ार'],
  ])('%s is found by %s', (passage, query) => {
    expect(meets(passage, query)).toBe(true);
  });

  it('keeps apart words that differ in more than ornament', () => {
    expect(meets('the market', 'marked')).toBe(false);
    expect(meets('市場', '場所')).toBe(false);
  });

  it('bounds a query, and finds none in punctuation', () => {
    expect(queryTerms(Array.from({ length: 500 }, (_, i) => `word${i}`).join(' '))).toHaveLength(
      QUERY_TERMS_MAX,
    );
    expect(queryTerms('"(*) + ~:\\ ^? — !')).toEqual([]);
    expect(queryTerms('a'.repeat(10_000))[0]?.length).toBeLessThan(100);
  });
});
