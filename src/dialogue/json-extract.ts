/**
 * Finds the JSON objects in a model's text: bare, fenced, with prose or reasoning around, several
 * of them, with the small slips that models make. Nothing is invented: an object whose brackets do
 * not balance was cut off, and is reported instead of completed.
 */
import { jsonrepair } from 'jsonrepair';
import { cleanJson } from './clean-json.ts';
import type { JsonObject, JsonValue } from './conversation-record.ts';

export interface ExtractedObjects {
  /** In the order of the text. */
  readonly objects: readonly JsonObject[];
  /** What was seen that could not be used, in words for the model that wrote it. */
  readonly problems: readonly string[];
}

const DEPTH_MAX = 64;
const OBJECTS_MAX = 32;

const PROBLEM = {
  cutOff: 'the JSON object is cut off or its brackets do not match',
  array: 'the answer is a JSON array, but a JSON object was asked for',
  abbreviated: 'the JSON object is abbreviated with "..." instead of written out',
  malformed: 'the JSON object is not valid JSON',
  none: 'there is no JSON object in the answer',
} as const;

export function extractObjects(text: string): ExtractedObjects {
  const whole = parsed(text);
  if (isObject(whole)) return { objects: [whole], problems: [] };
  return scan(text);
}

interface Scan {
  objects: JsonObject[];
  readonly problems: Set<string>;
}

function scan(text: string): ExtractedObjects {
  const found: Scan = { objects: [], problems: new Set() };
  for (let at = 0; at < text.length && found.objects.length < OBJECTS_MAX; ) {
    const char = text[at];
    if (char === '<') at = skipReasoning(text, at, found);
    else if (char !== '{' && char !== '[') at += 1;
    else if (!looksLikeJson(text, at)) at += 1;
    else {
      const region = readRegion(text, at);
      if (region === null) {
        found.problems.add(PROBLEM.cutOff);
        // What follows may be its inside, and a part of an answer is no answer.
        at = text.length;
      } else {
        collect(region, char, found);
        at = region.end;
      }
    }
  }
  if (found.objects.length === 0 && found.problems.size === 0) found.problems.add(PROBLEM.none);
  return { objects: found.objects, problems: [...found.problems] };
}

const REASONING_OPEN = /<(think|thinking|reasoning|thought)>/iy;
const REASONING_CLOSE = /<\/(?:think|thinking|reasoning|thought)>/iy;

/** Objects that the model only thought about are no answers, also when the opening tag is missing. */
function skipReasoning(text: string, at: number, found: Scan): number {
  REASONING_CLOSE.lastIndex = at;
  if (REASONING_CLOSE.test(text)) {
    found.objects = [];
    found.problems.clear();
    return REASONING_CLOSE.lastIndex;
  }
  REASONING_OPEN.lastIndex = at;
  const tag = REASONING_OPEN.exec(text)?.[1];
  if (tag === undefined) return at + 1;
  const close = new RegExp(`</${tag}>`, 'gi');
  close.lastIndex = at;
  if (close.test(text)) return close.lastIndex;
  found.problems.add(PROBLEM.cutOff);
  return text.length;
}

/** Prose has brackets too: an object starts with a key or ends at once, an array of objects with an object. */
function looksLikeJson(text: string, at: number): boolean {
  const start = text[at] === '{' ? /\s*(?:["'“}]|[A-Za-z_]\w*\s*:)/y : /\s*[{[]/y;
  start.lastIndex = at + 1;
  return start.test(text);
}

interface Region {
  /** Position after the closing bracket. */
  readonly end: number;
  /** The region's text with NaN and Infinity as null. */
  readonly text: string;
  readonly abbreviated: boolean;
}

const NOT_FINITE = /-?(?:NaN|Infinity)\b/y;

/** Reads from an opening bracket to the one that closes it; null when that never comes. */
function readRegion(text: string, start: number): Region | null {
  const expected: string[] = [];
  let clean = '';
  let copied = start;
  let abbreviated = false;
  for (let at = start; at < text.length; ) {
    const char = text[at] as string;
    if (char === '"' || char === "'") {
      at = endOfString(text, at);
      continue;
    }
    NOT_FINITE.lastIndex = at;
    if (NOT_FINITE.test(text)) {
      clean += `${text.slice(copied, at)}null`;
      copied = NOT_FINITE.lastIndex;
      at = copied;
      continue;
    }
    if (char === '{' || char === '[') expected.push(char === '{' ? '}' : ']');
    else if ((char === '}' || char === ']') && expected.pop() !== char) return null;
    else if (char === '…' || text.startsWith('...', at)) abbreviated = true;
    at += 1;
    if (expected.length > DEPTH_MAX) return null;
    if (expected.length === 0) return { end: at, text: clean + text.slice(copied, at), abbreviated };
  }
  return null;
}

/** Position after the closing quote; the end of the text when there is none. */
function endOfString(text: string, start: number): number {
  const quote = text[start];
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === quote) return at + 1;
  }
  return text.length;
}

function collect(region: Region, opening: string, found: Scan): void {
  if (opening === '[') found.problems.add(PROBLEM.array);
  else if (region.abbreviated) found.problems.add(PROBLEM.abbreviated);
  else {
    const value = parsed(region.text) ?? parsed(repaired(region.text));
    if (isObject(value)) found.objects.push(value);
    else found.problems.add(PROBLEM.malformed);
  }
}

/** The cleaned value, or undefined when the text is not JSON: an expected outcome, so no error. */
function parsed(text: string | undefined): JsonValue | undefined {
  if (text === undefined) return undefined;
  try {
    return cleanJson(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Trailing commas, other quotes, raw line breaks, missing quotes around keys; undefined when beyond repair. */
function repaired(text: string): string | undefined {
  try {
    return jsonrepair(text);
  } catch {
    return undefined;
  }
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
