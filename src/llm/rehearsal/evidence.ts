import { asRecord, type ChatRequest, type Json } from './chat-request.ts';
import type { PassageText, PassageTexts, Sentence } from './passage-text.ts';
import { parseJson, textOf } from './prompt-reading.ts';

/** A text that an answer may quote. */
export interface Evidence {
  /** How a cue names it: `KB: <descriptor>` or `Web: <title>`. */
  readonly cue: string;
  readonly text: PassageText;
}

export interface FoundSentence {
  readonly cue: string;
  readonly sentence: Sentence;
  readonly text: PassageText;
}

/** The tool results of a request, in order, each text once. */
export function toolEvidence(request: ChatRequest, texts: PassageTexts): readonly Evidence[] {
  const toolOf = new Map<string, string>();
  const found = new Map<string, Evidence>();
  for (const message of request.messages) {
    for (const call of message.toolCalls) toolOf.set(call.id, call.name);
    if (message.role !== 'tool') continue;
    const prefix = toolOf.get(message.toolCallId) === 'web_search' ? 'Web' : 'KB';
    for (const [name, text] of resultsOf(message.content)) {
      if (text.trim() !== '' && !found.has(text))
        found.set(text, { cue: `${prefix}: ${name}`, text: texts.take(text) });
    }
  }
  return [...found.values()];
}

/** Name and text of each result: of our own tools' JSON, or of lines such as `[name] text`. */
function resultsOf(content: string): readonly [string, string][] {
  const parsed = parseJson(content);
  const list = Array.isArray(parsed) ? (parsed as unknown[]) : asRecord(parsed)?.results;
  if (Array.isArray(list)) {
    return list
      .map((item: unknown) => asRecord(item))
      .filter((item) => item !== null)
      .map((item) => [nameOf(item), textOf(item.content ?? item.text ?? item.snippet)]);
  }
  if (parsed !== undefined) return [];
  return content.split('\n').flatMap((line): [string, string][] => {
    const match = /^\[([^\]]+)\]\s+(.+)$/u.exec(line);
    return match === null ? [] : [[match[1] ?? '', match[2] ?? '']];
  });
}

const nameOf = (item: Json): string =>
  textOf(item.source ?? item.source_descriptor ?? item.descriptor ?? item.title ?? item.link) || 'source';

/** The `count` sentences that share most content words with `words`, best first, no text twice. */
export function bestSentences(
  evidence: readonly Evidence[],
  words: ReadonlySet<string>,
  count: number,
): readonly FoundSentence[] {
  const scored: { found: FoundSentence; score: number }[] = [];
  for (const { cue, text } of evidence) {
    for (const sentence of text.sentences) {
      scored.push({ found: { cue, sentence, text }, score: likeness(sentence.words, words) });
    }
  }
  scored.sort((a, b) => b.score - a.score);
  const seen = new Set<string>();
  const best: FoundSentence[] = [];
  for (const { found } of scored) {
    if (best.length === count) break;
    if (seen.has(found.sentence.text)) continue;
    seen.add(found.sentence.text);
    best.push(found);
  }
  return best;
}

/** Shared words, damped by the square root of the length so that long sentences do not always win. */
function likeness(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  if (a.size === 0) return 0;
  let shared = 0;
  for (const word of b) if (a.has(word)) shared += 1;
  return shared / Math.sqrt(a.size);
}
