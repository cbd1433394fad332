import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { legacyQuestionHash, normaliseQuestion, questionKey } from '../../../src/dialogue/question-key.ts';

describe('C13 the key of a question', () => {
  test.each([
    ['case', 'What IS a Ria?', 'what is a ria'],
    ['full case folding', 'STRASSE ΟΔΟΣ', 'straße οδος'],
    ['compatibility forms', 'ﬁne ① Ｗｉｄｅ', 'FINE 1 wide'],
    ['composition', 'cafe\u0301', 'CAFÉ'],
    ['white space', ' a\t b\n\nc\u00a0d\u2028e\u0085f ', 'a b c d e f'],
    ['what cannot be seen', 'co\u00adop\u200b \u200e\ufeffshop\u2060', 'coop shop'],
    ['Arabic question mark', 'ما هو الميناء؟', 'ما هو الميناء'],
    ['full-width and CJK marks', '「港は何ですか。」', '港は何ですか？'],
    ['quotes and inverted marks', '«¿Qué es un puerto?»', 'qué es un puerto'],
    ['ellipsis and list dashes', '— what is silt…', 'What is silt?'],
  ])('ignores %s', (_name, one, other) => {
    expect(questionKey(one)).toBe(questionKey(other));
  });

  test.each([
    ['Is it C++?', 'Is it C?'],
    ['ısı nedir', 'isi nedir'],
    ['a b', 'ab'],
    ["what's a well", 'whats a well'],
    ['résumé', 'resume'],
  ])('tells %s from %s', (one, other) => {
    expect(questionKey(one)).not.toBe(questionKey(other));
  });

  test('is idempotent, trimmed, and SHA-256 in hex', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 30 }),
      fc.string({
        unit: fc.constantFrom(
          '!',
          '.',
          '\u0301',
          'e',
          'ß',
          'ẞ',
          'ς',
          'Σ',
          'İ',
          'ı',
          '\u0345',
          '\u200d',
          'ﬁ',
          ' ',
          '…',
          '\u115f',
          'ﾞ',
          'か',
          '\ud800',
        ),
      }),
    );
    fc.assert(
      fc.property(text, (question) => {
        const once = normaliseQuestion(question);
        expect(normaliseQuestion(once)).toBe(once);
        expect(once).toBe(once.trim());
        expect(questionKey(question)).toMatch(/^[0-9a-f]{64}$/);
      }),
      { numRuns: 1000 },
    );
  });

  test('long runs of punctuation take linear time', () => {
    const started = performance.now();
    normaliseQuestion(`a${'.'.repeat(200_000)}b${' !'.repeat(100_000)}`);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

test('the hash of 0.1.0: lower case and white space only', () => {
  // sha256("what is a ria?"), first 16 digits.
  expect(legacyQuestionHash('  What\u2028IS\x1fa\u0085 Ria? ')).toBe(legacyQuestionHash('what is a ria?'));
  expect(legacyQuestionHash('what is a ria?')).toBe('61d20d064eca8771');
  expect(legacyQuestionHash('what is a ria')).not.toBe(legacyQuestionHash('what is a ria?'));
  expect(legacyQuestionHash('a\ufeffb')).not.toBe(legacyQuestionHash('a b'));
});
