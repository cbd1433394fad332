/**
 * Text as Postgres can hold it. A JavaScript string may have U+0000 and lone surrogates, which no Postgres
 * text can; such a string is stored as its JSON escape behind a mark. Every other string is stored as it
 * is, so that people can read the tables.
 *
 * JSON texts need none of this: `JSON.stringify` escapes both itself. That is why events and payloads are
 * `text` columns of JSON; `jsonb` refuses the very escapes that keep them safe.
 */
const MARK = '\u0001';

export function toStoredText(text: string): string {
  const plain = text.isWellFormed() && !text.includes('\0') && !text.startsWith(MARK);
  return plain ? text : MARK + JSON.stringify(text);
}

export function fromStoredText(stored: string): string {
  return stored.startsWith(MARK) ? (JSON.parse(stored.slice(1)) as string) : stored;
}
