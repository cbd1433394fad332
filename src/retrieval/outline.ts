/** The headings of a Markdown text, which lead the chunking and name the passages. */
export interface Heading {
  /** Offset of the heading's line. */
  readonly start: number;
  /** Offset after its last line. */
  readonly end: number;
  /** 1 to 6. */
  readonly level: number;
  /** Without Markdown signs; may be empty. */
  readonly title: string;
}

export interface Outline {
  /** From a `title:` in the front matter; null when there is none. */
  readonly frontTitle: string | null;
  readonly headings: readonly Heading[];
}

export const NO_OUTLINE: Outline = { frontTitle: null, headings: [] };

const ATX = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const SETEXT = /^ {0,3}(=+|-{2,})[ \t]*$/;
/** Starts of lines that are no paragraph: lists, quotes, tables, indented code. */
const BLOCK = /^(?: {4}|\t| {0,3}(?:[-+*>|]|\d+[.)]))/;
/** No heading is longer; longer lines are not even looked at, which keeps the patterns cheap. */
const HEADING_LINE_MAX = 1_000;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const FRONT_MATTER = /^---[ \t]*\n([\s\S]*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)/;
/** Front matter is looked for in the first characters only. */
const FRONT_MATTER_MAX = 8_192;

/** Heading text as a person reads it. */
function plain(markdown: string): string {
  return markdown
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/\s*\{#[^}]*\}\s*$/, '')
    .replace(/<[^>]+>/g, '')
    .replace(/[*`]+|(?<!\w)_+|_+(?!\w)/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

function frontTitle(block: string): string | null {
  const title = /^title:[ \t]*(.+)$/m
    .exec(block)?.[1]
    ?.trim()
    .replace(/^(["'])(.*)\1$/, '$2');
  return title === undefined || title === '' ? null : title;
}

function* lines(
  text: string,
  from: number,
): Generator<{ readonly start: number; readonly end: number; readonly line: string }> {
  for (let start = from; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline + 1;
    yield { start, end, line: text.slice(start, newline < 0 ? end : newline).replace(/\r$/, '') };
    start = end;
  }
}

export function markdownOutline(text: string): Outline {
  const front = FRONT_MATTER.exec(text.slice(0, FRONT_MATTER_MAX));
  const headings: Heading[] = [];
  let fence: string | null = null;
  /** A paragraph of one line so far, which an underline would make a heading. */
  let paragraph: { readonly start: number; readonly line: string } | null = null;
  let previousIsText = false;
  for (const { start, end, line } of lines(text, front?.[0].length ?? 0)) {
    const short = line.length <= HEADING_LINE_MAX ? line : '';
    const marker = FENCE.exec(short)?.[1];
    if (fence !== null) {
      if (marker?.startsWith(fence)) fence = null;
      continue;
    }
    const atx: RegExpExecArray | null = ATX.exec(short);
    const underline: string | undefined = paragraph === null ? undefined : SETEXT.exec(short)?.[1];
    if (atx) {
      headings.push({ start, end, level: atx[1]?.length ?? 1, title: plain(atx[2] ?? '') });
    } else if (underline !== undefined && paragraph) {
      const level = underline.startsWith('=') ? 1 : 2;
      headings.push({ start: paragraph.start, end, level, title: plain(paragraph.line) });
    } else if (marker !== undefined) {
      fence = marker;
    }
    const isText: boolean =
      !atx && underline === undefined && marker === undefined && line.trim() !== '' && !BLOCK.test(line);
    paragraph = isText && !previousIsText && short !== '' ? { start, line } : null;
    previousIsText = isText;
  }
  return { frontTitle: front ? frontTitle(front[1] ?? '') : null, headings };
}

/**
 * Looks up the titles from the outermost heading down to the one that an offset stands under.
 * Paths are made once, so that a document with ten thousand headings costs no more than its length.
 */
export function headingPaths(headings: readonly Heading[]): (offset: number) => readonly string[] {
  const open: Heading[] = [];
  const paths = headings.map((heading) => {
    while (open.length > 0 && (open.at(-1)?.level ?? 0) >= heading.level) open.pop();
    open.push(heading);
    return open.map(({ title }) => title).filter((title) => title !== '');
  });
  return (offset) => {
    let low = 0;
    let high = headings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((headings[middle]?.start ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return paths[low - 1] ?? [];
  };
}
