import { BoundedMap } from './bounded-map.ts';
import { detectLanguage, isFunctionWord, type Language } from './language.ts';

/** A text taken apart once: what questions and answers are made from. */
export interface PassageText {
  readonly sentences: readonly Sentence[];
  readonly language: Language | null;
}

export interface Sentence {
  readonly text: string;
  /** Content words, lower case. */
  readonly words: ReadonlySet<string>;
  /** The best first; at least one. */
  readonly phrases: readonly Phrase[];
}

/** One or two content words that name something. */
export interface Phrase {
  readonly text: string;
  /** The word before it, when that was a determiner; lower case. */
  readonly determiner: string | null;
}

const WORD = /[\p{L}\p{N}][\p{L}\p{N}\p{M}'’-]*/gu;
const SENTENCES_MAX = 200;
const PHRASES_MAX = 6;
/** What a determiner is worth, in characters: more than any length. */
const NAMED = 24;

/** French articles before a vowel are words of their own. */
const ELISION = /(?<!\p{L})(qu|[ldnscjmt])['’](?=\p{L})/giu;
const splitElisions = (text: string): string =>
  text.includes("'") || text.includes('’') ? text.replace(ELISION, '$1 ') : text;

export const wordsOf = (text: string): string[] => splitElisions(text.toLowerCase()).match(WORD) ?? [];

export const contentWordsOf = (text: string): string[] =>
  wordsOf(text).filter((word) => word.length > 2 && !isFunctionWord(word));

/** Texts taken apart, by their text; bounded, shared by all requests of a server. */
export class PassageTexts {
  readonly #known = new BoundedMap<string, PassageText>(() => 8192);

  take(text: string): PassageText {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const fresh = takeApart(text);
    this.#known.set(text, fresh);
    return fresh;
  }
}

function takeApart(text: string): PassageText {
  const sentences = splitSentences(text).map(
    (sentence): Sentence => ({
      text: sentence,
      words: new Set(contentWordsOf(sentence)),
      phrases: phrasesOf(sentence),
    }),
  );
  return { sentences, language: detectLanguage(wordsOf(text)) };
}

const HEADING = /^\s{0,3}#{1,6}\s|^\s*[|=-]{2,}/u;
const LIST_ITEM = /^\s*(?:[-*+•]|\d{1,3}[.)])\s+/u;

/** Whole sentences of four words or more; the text itself when it has none. */
export function splitSentences(text: string): string[] {
  const sentences: string[] = [];
  for (const block of blocksOf(text)) {
    for (const sentence of splitBlock(block)) {
      if (sentences.length < SENTENCES_MAX && isUsable(sentence)) sentences.push(sentence);
    }
  }
  if (sentences.length > 0) return sentences;
  const whole = plain(text);
  return whole === '' ? [] : [clipWords(whole, 40)];
}

/** Paragraphs and list items on one line each; headings, rules and tables are left out. */
function blocksOf(text: string): string[] {
  const blocks: string[] = [];
  let open = '';
  const close = (): void => {
    if (open !== '') blocks.push(plain(open));
    open = '';
  };
  for (const line of text.split(/\r?\n|\u2028|\u2029/u)) {
    if (line.trim() === '' || HEADING.test(line)) close();
    else if (LIST_ITEM.test(line)) {
      close();
      open = line.replace(LIST_ITEM, '');
    } else open = open === '' ? line : `${open} ${line}`;
  }
  close();
  return blocks;
}

const plain = (text: string): string =>
  text
    .replace(/[*_`#]+/gu, '')
    .replace(/\s+/gu, ' ')
    .trim();

const ENDS_SENTENCE = /[.!?؟。…]+["”»')\]]*\s+(?=["“«'([]*[\p{Lu}\p{Lo}\p{N}¿¡])/gu;
const ABBREVIATION =
  /(?:^|[\s(])(?:\p{L}|e\.g|i\.e|etc|cf|vs|no|nr|dr|mr|mrs|fig|approx|z\.B|d\.h|bzw|p\.ej|env)\.$/iu;

function splitBlock(block: string): string[] {
  const parts: string[] = [];
  let start = 0;
  for (const match of block.matchAll(ENDS_SENTENCE)) {
    const end = match.index + match[0].length;
    const part = block.slice(start, end).trim();
    if (ABBREVIATION.test(part)) continue;
    parts.push(part);
    start = end;
  }
  parts.push(block.slice(start).trim());
  return parts;
}

function isUsable(sentence: string): boolean {
  const words = wordsOf(sentence);
  return words.length >= 4 && words.length <= 60 && /\p{L}{3}/u.test(sentence);
}

const DETERMINERS = new Set(
  `the a an of its their this each every le la les un une des du de d l au aux ce cette ces sa son leur chaque el los las
  una del al cada su der die das den dem ein eine einen einer eines jede jeder`.split(/\s+/u),
);

/**
 * Runs of content words. Those after a determiner, or with the Arabic article, name things; the
 * others are taken only where there is nothing better.
 */
function phrasesOf(sentence: string): Phrase[] {
  const found = new Map<string, Phrase>();
  for (const clause of splitElisions(sentence).split(/[,;:.!?؟،؛()"“”«»]+|\s[–—-]\s/u)) {
    let run: string[] = [];
    let determiner: string | null = null;
    const close = (): void => {
      const text = run.slice(0, 2).join(' ');
      const known = found.get(text)?.determiner ?? null;
      if (/\p{L}{3}/u.test(text)) found.set(text, { text, determiner: known ?? determiner });
      run = [];
    };
    for (const word of clause.match(WORD) ?? []) {
      const lower = word.toLowerCase();
      if (isFunctionWord(lower)) {
        close();
        determiner = DETERMINERS.has(lower) ? lower : null;
      } else run.push(word);
    }
    close();
  }
  const ranked = [...found.values()].sort((a, b) => worth(b) - worth(a) || (a.text < b.text ? -1 : 1));
  const names = ranked.filter((phrase) => worth(phrase) > NAMED);
  if (names.length >= 2) return names.slice(0, PHRASES_MAX);
  const several = ranked.filter((phrase) => worth(phrase) > NAMED || phrase.text.includes(' '));
  const best = (several.length > 0 ? several : ranked).slice(0, PHRASES_MAX);
  return best.length > 0 ? best : [{ text: clipWords(plain(sentence), 3), determiner: null }];
}

const worth = ({ text, determiner }: Phrase): number =>
  Math.min(text.length, NAMED) + (determiner !== null || text.startsWith('ال') ? NAMED : 0);

/** At most `max` words of `text`, with an ellipsis when something was cut. */
export function clipWords(text: string, max: number): string {
  const words = text.split(/\s+/u);
  return words.length <= max ? text : `${words.slice(0, max).join(' ')} …`;
}

/** Without the full stop at the end, to stand inside another sentence. */
export const withoutEnd = (sentence: string): string => sentence.replace(/[\s.!?؟。…,;:]+$/u, '');
