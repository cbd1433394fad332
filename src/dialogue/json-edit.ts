/**
 * Changes single values inside a JSON text and leaves every other character as it stands: number formats,
 * escapes, spaces, unknown members, and what Python writes besides JSON (NaN, Infinity). Works on any string whose
 * JSON punctuation is ASCII, so also on bytes read as Latin-1: then not even broken UTF-8 is touched.
 *
 * For texts that have been parsed before: on anything else the result is unspecified, but it ends.
 */

/** The new text of a value, or undefined to leave it; told the old text, undefined for a member that is missing. */
export type Edit = (old: string | undefined) => string | undefined;

/** Changes members of the object that `text` is; one that is missing and gets a text is added at the end. */
export function editMembers(text: string, edits: Readonly<Record<string, Edit>>): string {
  const start = skipSpace(text, 0);
  if (text[start] !== '{') return text;
  const found = new Set<string>();
  const pieces: string[] = [];
  let copied = 0;
  let memberEnd = -1;
  let before = '';
  for (let at = skipSpace(text, start + 1); at < text.length && text[at] !== '}'; ) {
    before = text.slice(memberEnd === -1 ? start + 1 : text.lastIndexOf(',', at) + 1, at);
    const keyEnd = skipString(text, at);
    const key = keyOf(text.slice(at, keyEnd));
    const from = skipSpace(text, skipSpace(text, keyEnd) + 1);
    memberEnd = skipValue(text, from);
    const edit = Object.hasOwn(edits, key) ? edits[key] : undefined;
    const changed = edit?.(text.slice(from, memberEnd));
    if (edit !== undefined) found.add(key);
    if (changed !== undefined) {
      pieces.push(text.slice(copied, from), changed);
      copied = memberEnd;
    }
    at = afterComma(text, memberEnd);
  }
  const added = Object.entries(edits).flatMap(([key, edit]) => {
    const value = found.has(key) ? undefined : edit(undefined);
    return value === undefined ? [] : [`${JSON.stringify(key)}: ${value}`];
  });
  if (added.length === 0) return pieces.join('') + text.slice(copied);
  if (memberEnd === -1) return `${text.slice(0, start + 1)}${added.join(', ')}${text.slice(start + 1)}`;
  // As far from the comma as the last member is.
  const gap = before.trim() === '' && before !== '' ? before : ' ';
  const tail = added.map((member) => `,${gap}${member}`).join('');
  return pieces.join('') + text.slice(copied, memberEnd) + tail + text.slice(Math.max(copied, memberEnd));
}

/** Changes items of the array that `text` is. */
export function editItems(text: string, edit: (item: string, index: number) => string): string {
  const start = skipSpace(text, 0);
  if (text[start] !== '[') return text;
  const pieces: string[] = [];
  let copied = 0;
  let index = 0;
  for (let at = skipSpace(text, start + 1); at < text.length && text[at] !== ']'; index += 1) {
    const end = skipValue(text, at);
    pieces.push(text.slice(copied, at), edit(text.slice(at, end), index));
    copied = end;
    at = afterComma(text, end);
  }
  return pieces.join('') + text.slice(copied);
}

function afterComma(text: string, end: number): number {
  const at = skipSpace(text, end);
  return text[at] === ',' ? skipSpace(text, at + 1) : at;
}

const SPACE = /[ \t\r\n]*/y;
const SCALAR = /[^\s,\]}]*/y;

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  pattern.test(text);
  return Math.max(at, pattern.lastIndex);
}

const skipSpace = (text: string, at: number): number => skip(SPACE, text, at);

/** Position after the closing quote. */
function skipString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '"') return at + 1;
  }
  return text.length;
}

/** Position after the value; always further than `start`. */
function skipValue(text: string, start: number): number {
  const first = text[start];
  if (first === '"') return skipString(text, start);
  if (first !== '{' && first !== '[') return Math.max(start + 1, skip(SCALAR, text, start));
  let depth = 0;
  for (let at = start; at < text.length; ) {
    const char = text[at];
    if (char === '"') {
      at = skipString(text, at);
      continue;
    }
    if (char === '{' || char === '[') depth += 1;
    else if (char === '}' || char === ']') depth -= 1;
    at += 1;
    if (depth === 0) return at;
  }
  return text.length;
}

function keyOf(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    // Raw control characters, which Python lets through on demand: never a key that is edited.
    return quoted.slice(1, -1);
  }
}
