/** A document's text to its passages: where they are, what they are called, how they are known. */
import type { Passage } from '../dialogue/passage.ts';
import { sha256 } from '../kernel/hash.ts';
import { type Chunk, type ChunkingParameters, chunkText } from './chunking.ts';
import { type Heading, headingPaths, markdownOutline, NO_OUTLINE } from './outline.ts';

const TITLE_LENGTH_MAX = 80;
const KNOWN_EXTENSION = /\.(?:txt|md|pdf)$/i;

/** `market-rules_2024.md` → `Market rules 2024`. */
export function readableStem(source: string): string {
  const stem = source.slice(source.lastIndexOf('/') + 1).replace(KNOWN_EXTENSION, '');
  const words = stem.replace(/[\s._\-–—]+/g, ' ').trim();
  return words === '' ? 'Document' : words.charAt(0).toUpperCase() + words.slice(1);
}

/** A heading that only repeats a file or path name is no title for a model to see (fault F12). */
function readableTitle(title: string): string {
  const words = KNOWN_EXTENSION.test(title) ? readableStem(title) : title;
  return Array.from(words).length <= TITLE_LENGTH_MAX
    ? words
    : `${Array.from(words)
        .slice(0, TITLE_LENGTH_MAX - 1)
        .join('')
        .trimEnd()}…`;
}

/** The place that a chunk is about: past the headings that it opens with. */
function bodyOffset(chunk: Chunk, text: string, headingAt: ReadonlyMap<number, Heading>): number {
  let offset = chunk.start;
  for (;;) {
    const heading = headingAt.get(text.lastIndexOf('\n', offset - 1) + 1);
    if (heading === undefined || heading.end >= chunk.end)
      return Math.max(offset, Math.min(heading?.start ?? offset, chunk.end - 1));
    offset = heading.end;
    while (offset < chunk.end && /\s/.test(text.charAt(offset))) offset += 1;
  }
}

/**
 * A passage's id is made of its document's relative path, its text and, among equal texts of one
 * document, its turn: moving the project keeps it, and so does an edit elsewhere in the document.
 */
function passageId(source: string, text: string, occurrence: number): string {
  return sha256(`${source}\0${occurrence}\0${text}`).slice(0, 20);
}

function occurrences(): (key: string) => number {
  const seen = new Map<string, number>();
  return (key) => {
    const count = seen.get(key) ?? 0;
    seen.set(key, count + 1);
    return count;
  };
}

/** All passages of one document, in reading order; none for a text of white space. */
export function documentPassages(source: string, text: string, chunking: ChunkingParameters): Passage[] {
  const outline = /\.md$/i.test(source) ? markdownOutline(text) : NO_OUTLINE;
  const title = readableTitle(
    outline.frontTitle ?? outline.headings.find((h) => h.title !== '')?.title ?? readableStem(source),
  );
  const pathAt = headingPaths(outline.headings);
  const headingAt = new Map(outline.headings.map((heading) => [heading.start, heading]));
  const textTurn = occurrences();
  const partTurn = occurrences();
  const chunks = chunkText(
    text,
    chunking,
    outline.headings.map((heading) => heading.start),
  );
  return chunks.map((chunk, index) => {
    const passage = text.slice(chunk.start, chunk.end);
    const path = pathAt(bodyOffset(chunk, text, headingAt)).map(readableTitle);
    const place = (path[0] === title ? path : [title, ...path]).join(' › ');
    const part = partTurn(place);
    return {
      id: passageId(source, passage, textTurn(passage)),
      source,
      descriptor: part === 0 ? place : `${place} (part ${part + 1})`,
      index,
      text: passage,
      charStart: chunk.start,
      charEnd: chunk.end,
    };
  });
}
