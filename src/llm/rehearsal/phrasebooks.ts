import type { Language } from './language.ts';
import { arabic } from './templates/ar.ts';
import { german } from './templates/de.ts';
import { english } from './templates/en.ts';
import { spanish } from './templates/es.ts';
import { french } from './templates/fr.ts';
import type { Phrasebook } from './phrasebook.ts';

const BOOKS: Readonly<Record<Language, Phrasebook>> = {
  en: english,
  fr: french,
  ar: arabic,
  es: spanish,
  de: german,
};

export const phrasebookOf = (language: Language): Phrasebook => BOOKS[language];

/** Asked in every language, so that different languages collide too. */
export const SHARED_DUPLICATES: readonly string[] = [
  'What should I know about this before I start?',
  'Which part of this matters most?',
];
