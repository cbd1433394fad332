import { sha256 } from '../kernel/hash.ts';

/**
 * What makes two questions the same question (I4): NFKC, case folding, characters that cannot be seen
 * taken out, white space collapsed, punctuation at the ends removed. The first three steps are Unicode's
 * NFKC_Casefold (Unicode Standard, section 3.13, R4 and R5).
 *
 * Idempotent: one pass can uncover work for the next (a mark composes with a letter once what stood
 * between them is gone), so passes are made until nothing changes.
 */
export function normaliseQuestion(question: string): string {
  let text = question.toWellFormed();
  for (let pass = 0; pass < PASSES_MAX; pass += 1) {
    const next = normaliseOnce(text);
    if (next === text) break;
    text = next;
  }
  return text;
}

/** Two passes were the most over every code point and a million mixtures of awkward ones; the limit is for safety. */
const PASSES_MAX = 8;

function normaliseOnce(text: string): string {
  const folded = foldCase(text.normalize('NFKC').replace(UNSEEN, ''))
    .normalize('NFKC')
    .replace(SPACE, ' ')
    .replace(START, '');
  return withoutEnd(folded);
}

/** Soft hyphens, zero-width spaces and joiners, direction marks, variation selectors. */
const UNSEEN = /\p{Default_Ignorable_Code_Point}/gu;
/** Every separator and control character: U+2028, U+0085 and tabs too. */
const SPACE = /[\s\p{Z}\p{Cc}]+/gu;
/** All of it, as the design says: a key that takes “C#” for “C” at an end repeats too little, never too much. */
const START = /^[\p{P}\s]+/u;
const EDGE_CHARACTER = /^[\p{P}\s]$/u;

/** By hand, from the back: an expression that ends in `$` takes quadratic time on long runs of dots. */
function withoutEnd(text: string): string {
  let end = text.length;
  while (end > 0) {
    const last = text.charCodeAt(end - 1);
    const start = last >= 0xdc00 && last <= 0xdfff && end > 1 ? end - 2 : end - 1;
    if (!EDGE_CHARACTER.test(text.slice(start, end))) break;
    end = start;
  }
  return text.slice(0, end);
}

/**
 * Full case folding from what JavaScript offers: upper, then lower case maps ß to ss and ﬁ to fi. The
 * dotless i is kept apart (upper case would merge it with i), final sigma is sigma.
 */
function foldCase(text: string): string {
  return text
    .split('ı')
    .map((part) => part.toUpperCase().toLowerCase())
    .join('ı')
    .replaceAll('ς', 'σ');
}

/** The dataset-wide unique key of a question: SHA-256 of its normal form, in hex. */
export function questionKey(question: string): string {
  return sha256(normaliseQuestion(question));
}

/** White space as Python's `str.split()` sees it, control characters among it. */
// oxlint-disable-next-line no-control-regex
const PYTHON_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;

/** 0.1.0's hash, kept in the ledger file: first 16 hex digits over the lower-cased, space-collapsed text. */
export function legacyQuestionHash(question: string): string {
  const collapsed = question.toWellFormed().toLowerCase().replace(PYTHON_SPACE, ' ');
  return sha256(collapsed.replace(/^ | $/g, '')).slice(0, 16);
}
