import { PROMPT_MARKERS } from '../../dialogue/prompt-markers.ts';
import { normaliseQuestion } from '../../dialogue/question-key.ts';
import { asRecord, type ChatRequest, type Json, type RequestMessage } from './chat-request.ts';

/**
 * What the roles read out of a request. The layout is that of `dialogue/prompt-markers.ts`; each
 * reader also gives an answer when its marker is missing, so that any client can be served.
 */

/**
 * The user message that says what this turn is about: the last one with a marker, because a
 * message that only asks for a repair comes after it; else the last user message.
 */
export function turnMessageIndex(request: ChatRequest): number {
  let last = -1;
  for (let i = request.messages.length - 1; i >= 0; i -= 1) {
    const message = request.messages[i];
    if (message?.role !== 'user') continue;
    if (last === -1) last = i;
    if (isRepair(message.content)) continue;
    if (TURN_MARKERS.some((marker) => valueAfter(message.content, marker) !== null)) return i;
  }
  return last;
}

const TURN_MARKERS = [PROMPT_MARKERS.turn, PROMPT_MARKERS.questionMode, PROMPT_MARKERS.question];

const isRepair = (content: string): boolean => content.trimStart().startsWith(PROMPT_MARKERS.repair);

export function messageAt(request: ChatRequest, index: number): string {
  return request.messages[index]?.content ?? '';
}

/** The value of the last line that starts with `marker`, user messages first, the latest first. */
export function markedValue(request: ChatRequest, marker: string): string | null {
  return latest(request, 'user', marker) ?? latest(request, 'system', marker);
}

function latest(request: ChatRequest, role: RequestMessage['role'], marker: string): string | null {
  for (let i = request.messages.length - 1; i >= 0; i -= 1) {
    const message = request.messages[i];
    if (message?.role !== role) continue;
    const value = valueAfter(message.content, marker);
    if (value !== null) return value;
  }
  return null;
}

function valueAfter(content: string, marker: string): string | null {
  for (
    let at = content.lastIndexOf(marker);
    at >= 0;
    at = at === 0 ? -1 : content.lastIndexOf(marker, at - 1)
  ) {
    const lineStart = content.lastIndexOf('\n', at) + 1;
    if (lineStart !== at) continue;
    const end = content.indexOf('\n', at);
    return unquoted(content.slice(at + marker.length, end === -1 ? undefined : end).trim());
  }
  return null;
}

function unquoted(value: string): string {
  if (!value.startsWith('"')) return value;
  const parsed = parseJson(value);
  return typeof parsed === 'string' ? parsed : value;
}

/** Questions that must not be asked again, normalised as the dataset keeps them. */
export function rejectedQuestions(content: string): ReadonlySet<string> {
  const start = content.lastIndexOf(PROMPT_MARKERS.rejectedQuestions);
  if (start === -1) return new Set();
  const rejected = new Set<string>();
  for (const line of content.slice(start + PROMPT_MARKERS.rejectedQuestions.length).split('\n')) {
    const item = /^\s*(?:[-*•]|\d+[.)])\s+(.+)$/u.exec(line)?.[1];
    if (item !== undefined) rejected.add(normaliseQuestion(unquoted(item.trim())));
    else if (line.trim() !== '' && rejected.size > 0) break;
  }
  return rejected;
}

/** The last JSON array in `content` whose first object has all of `keys`; [] when there is none. */
export function lastArrayWith(content: string, keys: readonly string[]): readonly Json[] {
  if (!keys.every((key) => content.includes(`"${key}"`))) return [];
  let tries = 64;
  for (
    let at = content.lastIndexOf('[');
    at >= 0 && tries > 0;
    at = at === 0 ? -1 : content.lastIndexOf('[', at - 1)
  ) {
    if (!/^\[\s*\{/u.test(content.slice(at, at + 32))) continue;
    tries -= 1;
    const array = arrayAt(content, at);
    const records = array?.map(asRecord).filter((item) => item !== null) ?? [];
    const first = records[0];
    if (first !== undefined && keys.every((key) => key in first)) return records;
  }
  return [];
}

function arrayAt(content: string, start: number): readonly unknown[] | null {
  // One object per line, as our prompts write them: the first line that starts with ] is the end.
  const lineEnd = content.indexOf('\n]', start);
  const quick = lineEnd === -1 ? undefined : parseJson(content.slice(start, lineEnd + 2));
  if (Array.isArray(quick)) return quick;
  const end = closingBracket(content, start);
  const parsed = end === -1 ? undefined : parseJson(content.slice(start, end + 1));
  return Array.isArray(parsed) ? parsed : null;
}

function closingBracket(content: string, start: number): number {
  let depth = 0;
  let inString = false;
  for (let i = start; i < content.length; i += 1) {
    const char = content[i];
    if (inString) {
      if (char === '\\') i += 1;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === '[') depth += 1;
    else if (char === ']' && --depth === 0) return i;
  }
  return -1;
}

/** `undefined` when `text` is no JSON: a request may hold anything. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
