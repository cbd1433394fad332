import { describe, expect, it } from 'vitest';
import { PassageTexts, splitSentences } from '../../../../src/llm/rehearsal/passage-text.ts';

describe('splitting into sentences', () => {
  it('keeps abbreviations and decimals together and leaves out headings and tables', () => {
    const text = `## A heading that reads like a sentence

Keep the hive above 2.5 metres, e.g. on a roof, so that predators stay away. The second sentence
goes over two lines! Is a third one here?

| a | b |
|---|---|

- The first list item is a sentence
- Short`;
    expect(splitSentences(text)).toEqual([
      'Keep the hive above 2.5 metres, e.g. on a roof, so that predators stay away.',
      'The second sentence goes over two lines!',
      'Is a third one here?',
      'The first list item is a sentence',
    ]);
  });

  it('splits Arabic and French', () => {
    expect(
      splitSentences(
        'ينتج النحل العسل من رحيق الأزهار. هل يحتاج المربي إلى مراقبة الرطوبة؟ نعم، قبل القطف دائما.',
      ),
    ).toHaveLength(3);
    expect(
      splitSentences("L'hiver est une saison froide. À chaque printemps, la colonie grandit."),
    ).toHaveLength(2);
  });

  it('never comes back with nothing for a text that says something', () => {
    expect(splitSentences('Honey')).toEqual(['Honey']);
    expect(splitSentences('   ')).toEqual([]);
  });
});

describe('phrases', () => {
  const phrases = (text: string): readonly string[] =>
    new PassageTexts().take(text).sentences[0]?.phrases.map((phrase) => phrase.text) ?? [];

  it('name things: what follows an article, without the article', () => {
    expect(phrases('The solar charger stores energy in the lithium battery of the house.')).toEqual(
      expect.arrayContaining(['solar charger', 'lithium battery', 'house']),
    );
    expect(phrases("La ruche protège l'essaim contre le froid de l'hiver.")).toEqual(
      expect.arrayContaining(['essaim', 'froid', 'hiver']),
    );
  });

  it('tell the language of a text', () => {
    const language = (text: string) => new PassageTexts().take(text).language;
    expect(language('The bees are in the hive and it is cold.')).toBe('en');
    expect(language('Les abeilles sont dans la ruche et il fait froid.')).toBe('fr');
    expect(language('Las abejas están en la colmena y hace frío.')).toBe('es');
    expect(language('Die Bienen sind im Stock und es ist kalt.')).toBe('de');
    expect(language('النحل في الخلية والجو بارد.')).toBe('ar');
  });
});
