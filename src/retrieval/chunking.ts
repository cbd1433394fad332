/**
 * Cuts a document's text into overlapping passages. Pure.
 *
 * The cursor is the first character, white space apart, that no chunk has covered yet. Each chunk
 * covers the cursor and ends behind it, so the cursor only grows and the loop ends (fault F5), and
 * every character that is not white space is in some chunk.
 *
 * A chunk ends, in this order of preference, before a heading, after a paragraph, a sentence, a
 * line, a word, and else at the size limit. A chunk that follows a heading break repeats nothing
 * of the one before, so that sections stay apart and an edit moves no chunk beyond its section.
 */
import { invariant } from '../kernel/errors.ts';

export interface ChunkingParameters {
  /** Most UTF-16 code units in a chunk; > 0. (A size of 1 still takes a surrogate pair whole.) */
  readonly size: number;
  /** Most code units that a chunk repeats of the one before; 0 repeats nothing; < size. */
  readonly overlap: number;
}

/** `text.slice(start, end)` is the passage: no white space at its ends, never empty. */
export interface Chunk {
  readonly start: number;
  readonly end: number;
}

/** Ascending offsets at which a new unit starts. */
interface Boundaries {
  readonly headings: readonly number[];
  readonly paragraphs: readonly number[];
  readonly sentences: readonly number[];
  readonly lines: readonly number[];
}

const SPACE = /\s/;
const PARAGRAPH = /\n[^\S\n]*\n\s*/g;
const SENTENCE = /[.!?…؟۔।]["'”’»)\]]*\s+|[。！？]["'”’»」』）]*\s*/g;
const LINE = /\n\s*/g;
/** A chunk that could end at a heading does so from this share of its size on. */
const HEADING_FILL = 1 / 3;
const FILL = 1 / 2;

const endsOf = (text: string, pattern: RegExp): number[] =>
  Array.from(text.matchAll(pattern), (m) => m.index + m[0].length);

/** Index of the first value that is >= `limit`. */
function lowerBound(sorted: readonly number[], limit: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function firstWithin(sorted: readonly number[], from: number, to: number): number | null {
  const found = sorted[lowerBound(sorted, from)];
  return found !== undefined && found <= to ? found : null;
}

function lastWithin(sorted: readonly number[], from: number, to: number): number | null {
  const found = sorted[lowerBound(sorted, to + 1) - 1];
  return found !== undefined && found >= from ? found : null;
}

function splitsPair(text: string, offset: number): boolean {
  const before = text.charCodeAt(offset - 1);
  const after = text.charCodeAt(offset);
  return before >= 0xd800 && before < 0xdc00 && after >= 0xdc00 && after < 0xe000;
}

function skipSpace(text: string, offset: number): number {
  let next = offset;
  while (next < text.length && SPACE.test(text.charAt(next))) next += 1;
  return next;
}

function trimmedEnd(text: string, start: number, end: number): number {
  let last = end;
  while (last > start && SPACE.test(text.charAt(last - 1))) last -= 1;
  return last;
}

/** The last place between words in [from, to]; null when it is all one word. */
function lastWordEnd(text: string, from: number, to: number): number | null {
  for (let offset = to; offset >= from; offset -= 1) {
    if (SPACE.test(text.charAt(offset)) || SPACE.test(text.charAt(offset - 1))) return offset;
  }
  return null;
}

function firstWordStart(text: string, from: number, before: number): number | null {
  for (let offset = from; offset < before; offset += 1) {
    if (SPACE.test(text.charAt(offset - 1)) && !SPACE.test(text.charAt(offset))) return offset;
  }
  return null;
}

/** Where the chunk [start, …) ends: behind `cursor`, at most at `limit`. */
function chooseEnd(
  text: string,
  at: Boundaries,
  start: number,
  cursor: number,
  size: number,
  overlap: number,
): number {
  const limit = Math.min(start + size, text.length);
  const least = Math.max(cursor, start + overlap) + 1;
  const heading = firstWithin(at.headings, Math.max(least, start + Math.ceil(size * HEADING_FILL)), limit);
  if (heading !== null) return heading;
  if (limit === text.length) return limit;
  const filled = Math.max(least, start + Math.ceil(size * FILL));
  for (const boundaries of [at.paragraphs, at.sentences, at.lines]) {
    const found = lastWithin(boundaries, filled, limit);
    if (found !== null) return found;
  }
  const word = lastWordEnd(text, filled, limit) ?? lastWordEnd(text, least, filled);
  return word ?? (splitsPair(text, limit) && limit - 1 > cursor ? limit - 1 : limit);
}

/** Where the chunk after `last` starts: repeats at most `overlap`, from a sentence or a word on. */
function chooseStart(
  text: string,
  at: Boundaries,
  last: Chunk,
  cursor: number,
  chunking: ChunkingParameters,
): number {
  const { size, overlap } = chunking;
  if (overlap === 0 || lastWithin(at.headings, last.end, cursor) !== null) return cursor;
  const width = splitsPair(text, cursor + 1) ? 2 : 1;
  const earliest = Math.max(last.end - overlap, cursor + width - size, last.start + 1);
  if (earliest >= last.end) return cursor;
  const sentence = firstWithin(at.sentences, earliest, last.end - 1);
  const word = sentence ?? firstWordStart(text, earliest, last.end);
  return skipSpace(text, word ?? (splitsPair(text, earliest) ? earliest + 1 : earliest));
}

/**
 * @param headings ascending offsets of heading lines; empty for text without structure
 */
export function chunkText(
  text: string,
  chunking: ChunkingParameters,
  headings: readonly number[] = [],
): Chunk[] {
  const { size, overlap } = chunking;
  invariant(Number.isInteger(size) && size > 0, `chunk size must be a positive integer, not ${size}`);
  invariant(
    Number.isInteger(overlap) && overlap >= 0 && overlap < size,
    `chunk overlap must be in 0..size-1, not ${overlap}`,
  );
  const at: Boundaries = {
    headings,
    paragraphs: endsOf(text, PARAGRAPH),
    sentences: endsOf(text, SENTENCE),
    lines: endsOf(text, LINE),
  };
  const chunks: Chunk[] = [];
  let cursor = skipSpace(text, 0);
  let start = cursor;
  while (cursor < text.length) {
    const end = Math.max(chooseEnd(text, at, start, cursor, size, overlap), cursor + 1);
    const whole = splitsPair(text, end) ? end + 1 : end;
    const chunk = { start, end: trimmedEnd(text, start, whole) };
    chunks.push(chunk);
    cursor = skipSpace(text, whole);
    if (cursor < text.length) start = chooseStart(text, at, chunk, cursor, chunking);
  }
  return chunks;
}
