/** Text of models and files for a terminal: wrapped, and without what would steer the terminal. */

/** Everything but line breaks and tabs that a terminal would obey. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export const printable = (text: string): string =>
  text
    .replaceAll('\r\n', '\n')
    .replaceAll(/[\u2028\u2029]/g, '\n')
    .replaceAll(CONTROL, '�')
    .toWellFormed();

/** JSON that says the same and steers no terminal. */
export const printableJson = (value: unknown): string =>
  JSON.stringify(value, null, 2).replaceAll(
    new RegExp(`${CONTROL.source}|[\u2028\u2029]`, 'g'),
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** Lines of at most `width` columns, each behind `indent`; one that is too long is cut at a blank, or anywhere. */
export function wrapped(text: string, indent: string, width: number | null): string[] {
  const room = width === null ? Number.POSITIVE_INFINITY : Math.max(20, width - indent.length);
  return printable(text)
    .replace(/\s+$/, '')
    .split('\n')
    .flatMap((line) => folded(line, room))
    .map((line) => `${indent}${line}`.trimEnd());
}

function folded(line: string, room: number): string[] {
  const lines: string[] = [];
  let rest = Array.from(line);
  while (rest.length > room) {
    const blank = rest.lastIndexOf(' ', room);
    const end = blank > 0 ? blank : room;
    lines.push(rest.slice(0, end).join(''));
    rest = rest.slice(blank > 0 ? end + 1 : end);
  }
  return [...lines, rest.join('')];
}

/** One line of at most `length` characters. */
export function shortened(text: string, length: number): string {
  const line = Array.from(printable(text).replaceAll(/\s+/g, ' ').trim());
  return line.length <= length ? line.join('') : `${line.slice(0, length - 1).join('')}…`;
}
