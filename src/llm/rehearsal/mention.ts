import type { Language } from './language.ts';
import type { Phrase } from './passage-text.ts';
import type { Phrasebook } from './phrasebook.ts';

/**
 * A phrase of the evidence, put so that it can stand anywhere in a sentence of `language`: as a
 * noun where that is safe, else in quotation marks. `from` is the language of the evidence.
 */
export function mention(phrase: Phrase, from: Language | null, language: Language, book: Phrasebook): string {
  const { text, determiner } = phrase;
  if (from !== language) return book.quote(text);
  if (language === 'ar') return text.startsWith('ال') ? text : book.quote(text);
  // In the other languages a noun changes its article, and prepositions contract with it.
  if (language !== 'en' || determiner === null || mayHaveVerb(text)) return book.quote(text);
  if (determiner === 'of') return text;
  return determiner === 'a' || determiner === 'an' ? `${determiner} ${text}` : `the ${text}`;
}

/** "tide rises" looks like "flight muscles"; only quotation marks suit both. */
const mayHaveVerb = (text: string): boolean => / \p{L}+(?:s|ed)$/u.test(text);
