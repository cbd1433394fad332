/**
 * Text to search terms, the same for passages and queries. LanceDB counts and scores what this file
 * yields and analyses nothing itself: its own tokenizers find neither words inside Chinese, Japanese
 * or Thai text, nor an Arabic word behind its article, nor `été` behind `l'`.
 *
 * A change here is a change of the index format: raise `INDEX_FORMAT` with it.
 */

/** Vowel points and accents of Latin, Greek, Cyrillic, Hebrew and Arabic; Indic and kana signs stay. */
const ACCENTS =
  /[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0640]/gu;
/** Letters that Unicode does not decompose but that readers type without their ornament. */
const FOLDED: Readonly<Record<string, string>> = {
  ß: 'ss',
  æ: 'ae',
  œ: 'oe',
  ø: 'o',
  đ: 'd',
  ð: 'd',
  þ: 'th',
  ł: 'l',
  ı: 'i',
  ς: 'σ',
  ى: 'ي',
  ی: 'ي',
  ک: 'ك',
  ة: 'ه',
  ٱ: 'ا',
};
const FOLDABLE = new RegExp(`[${Object.keys(FOLDED).join('')}٠-٩۰-۹]`, 'gu');
const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const UNSPACED =
  /[\p{Script_Extensions=Han}\p{Script_Extensions=Hiragana}\p{Script_Extensions=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const UNSPACED_RUN = new RegExp(`${UNSPACED.source}+|(?:(?!${UNSPACED.source})[\\p{L}\\p{N}\\p{M}])+`, 'gu');
const ARABIC = /^[\u0620-\u064a]+$/u;
const ARABIC_PREFIXES = ['وال', 'بال', 'كال', 'فال', 'لل', 'ال'] as const;
const ARABIC_SUFFIXES = ['ها', 'ان', 'ات', 'ون', 'ين', 'يه', 'ه', 'ي'] as const;

/** Longer words are cut, so that one broken line cannot swell the index. */
const TERM_LENGTH_MAX = 40;
/** A query with more different terms is cut: each costs time, and the first say what it is about. */
export const QUERY_TERMS_MAX = 64;

function foldCharacter(character: string): string {
  const folded = FOLDED[character];
  if (folded !== undefined) return folded;
  const digit = character.charCodeAt(0) & 0x0f;
  return String(digit);
}

function fold(text: string): string {
  return text
    .toLowerCase()
    .normalize('NFKD')
    .replace(ACCENTS, '')
    .normalize('NFC')
    .replace(FOLDABLE, foldCharacter);
}

/** Light stemming after Larkey, Ballesteros and Connell ("light10"): the article, then common endings. */
function stemArabic(word: string): string {
  let stem = word.length > 3 && word.startsWith('و') ? word.slice(1) : word;
  const prefix = ARABIC_PREFIXES.find(
    (candidate) => stem.startsWith(candidate) && stem.length - candidate.length >= 2,
  );
  if (prefix !== undefined) stem = stem.slice(prefix.length);
  const suffix = ARABIC_SUFFIXES.find(
    (candidate) => stem.endsWith(candidate) && stem.length - candidate.length >= 2,
  );
  return suffix === undefined ? stem : stem.slice(0, -suffix.length);
}

function* pieces(text: string): Generator<string> {
  for (const [word] of fold(text).matchAll(WORD)) {
    if (UNSPACED.test(word)) for (const [run] of word.matchAll(UNSPACED_RUN)) yield run;
    else yield word;
  }
}

/** Overlapping pairs of characters, the usual way to search scripts that put no space between words. */
function pairs(run: string): string[] {
  const characters = Array.from(run);
  return characters.slice(1).map((character, i) => `${characters[i]}${character}`);
}

function spacedTerm(word: string): string {
  return (ARABIC.test(word) ? stemArabic(word) : word).slice(0, TERM_LENGTH_MAX).toWellFormed();
}

/** The terms of a passage, in order, with repetitions. */
export function passageTerms(text: string): string[] {
  const terms: string[] = [];
  for (const piece of pieces(text)) {
    if (UNSPACED.test(piece)) terms.push(...Array.from(piece), ...pairs(piece));
    else terms.push(spacedTerm(piece));
  }
  return terms;
}

/** The different terms of a query, at most `QUERY_TERMS_MAX`. */
export function queryTerms(text: string): string[] {
  const terms = new Set<string>();
  for (const piece of pieces(text)) {
    if (!UNSPACED.test(piece)) terms.add(spacedTerm(piece));
    else for (const term of Array.from(piece).length > 1 ? pairs(piece) : [piece]) terms.add(term);
    if (terms.size >= QUERY_TERMS_MAX) break;
  }
  return [...terms].slice(0, QUERY_TERMS_MAX);
}
