import type { JsonValue } from './conversation-record.ts';

/** Text that every encoder and database accepts: lone surrogates become U+FFFD, U+0000 is dropped. */
export function cleanText(text: string): string {
  return text.toWellFormed().replaceAll('\u0000', '');
}

/**
 * The same value, fit to be stored: every text and key cleaned, and numbers that JSON cannot write
 * (a parser reads `1e999` as Infinity) replaced by null. What is not JSON at all becomes null too.
 */
export function cleanJson(value: unknown): JsonValue {
  if (typeof value === 'string') return cleanText(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value === 'boolean' || value === null) return value;
  if (Array.isArray(value)) return value.map(cleanJson);
  if (typeof value !== 'object') return null;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [cleanText(key), cleanJson(inner)]));
}
