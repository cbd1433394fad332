import { PROMPT_MARKERS } from '../../dialogue/prompt-markers.ts';
import type { Answer, PlannedCall, Scene } from './scene.ts';
import type { ChatRequest } from './chat-request.ts';
import { Draws } from './draws.ts';
import { bestSentences, type Evidence, type FoundSentence, toolEvidence } from './evidence.ts';
import { planGenericCalls } from './generic-tools.ts';
import { detectLanguage, type Language, recogniseLanguage } from './language.ts';
import { mention } from './mention.ts';
import {
  clipWords,
  contentWordsOf,
  type Phrase,
  splitSentences,
  withoutEnd,
  wordsOf,
} from './passage-text.ts';
import { fill, type Phrasebook } from './phrasebook.ts';
import { phrasebookOf } from './phrasebooks.ts';
import {
  lastArrayWith,
  markedValue,
  messageAt,
  parseJson,
  textOf,
  turnMessageIndex,
} from './prompt-reading.ts';
import { renderPrompt } from './request-key.ts';

const KNOWLEDGE_TOOL = 'vector_db_search';
const WEB_TOOL = 'web_search';
const QUOTED_WORDS_MAX = 18;
const ROUNDS_MAX = 3;

/** Searches the knowledge base for one round or two, then answers from what was found. */
export function asAssistant(scene: Scene, seed: number): Answer {
  const turnIndex = turnMessageIndex(scene.request);
  const question = questionOf(scene.request, messageAt(scene.request, turnIndex));
  const calls = planCalls(scene, seed, turnIndex, question);
  if (calls.length > 0) return { type: 'tools', calls };
  return { type: 'object', value: write(scene, question) };
}

/** The question line; else the `user_message` that the prompt shows; else the last sentence asked. */
function questionOf(request: ChatRequest, turnMessage: string): string {
  const marked = markedValue(request, PROMPT_MARKERS.question);
  if (marked !== null && marked !== '') return marked;
  const shown = /"user_message"\s*:\s*("(?:[^"\\]|\\.)*")/u.exec(turnMessage)?.[1];
  if (shown !== undefined) return textOf(parseJson(shown));
  return (
    splitSentences(turnMessage).findLast((sentence) => /[?؟]/u.test(sentence)) ?? clipWords(turnMessage, 40)
  );
}

function planCalls(scene: Scene, seed: number, turnIndex: number, question: string): readonly PlannedCall[] {
  const { request } = scene;
  if (request.toolChoice.type === 'none') return [];
  const offered = new Set(request.tools.map((tool) => tool.name));
  if (
    request.toolChoice.type === 'required' ||
    request.toolChoice.type === 'tool' ||
    !offered.has(KNOWLEDGE_TOOL)
  ) {
    return planGenericCalls(scene, question);
  }
  // The plan is drawn from what came before the first call, so it stays while rounds are added.
  const plan = new Draws(
    'plan',
    seed,
    renderPrompt({ ...request, messages: request.messages.slice(0, turnIndex + 1) }),
  );
  const rounds = plan.happens('second', scene.secondRoundRate) ? 2 : 1;
  const done = request.messages.slice(turnIndex + 1).filter((message) => message.toolCalls.length > 0).length;
  // A search that failed or found nothing is tried once more, in other words.
  const wanted = done > 0 && toolEvidence(request, scene.texts).length === 0 ? ROUNDS_MAX : rounds;
  if (done >= wanted) return [];
  const parallel = plan.unit(`parallel-${done}`) < scene.parallelCallsRate;
  if (done === 1 && offered.has(WEB_TOOL) && plan.happens('web', 0.25)) {
    return [{ name: WEB_TOOL, arguments: { query: queries(question)[0] ?? question } }];
  }
  const [whole, keywords] = queries(question);
  const [first, second] = done % 2 === 0 ? [whole, keywords] : [keywords, whole];
  const call = (query: string | undefined): PlannedCall => ({
    name: KNOWLEDGE_TOOL,
    arguments: { query: query ?? question },
  });
  return parallel && first !== second ? [call(first), call(second)] : [call(first)];
}

/** The question without its last mark, and its content words: two real phrases to search for. */
function queries(question: string): [string, string] {
  const keywords = contentWordsOf(question).slice(0, 8).join(' ');
  const whole = clipWords(withoutEnd(question), 40);
  return [whole, keywords === '' ? whole : keywords];
}

function write(scene: Scene, question: string): Readonly<Record<string, unknown>> {
  const language = languageOf(scene.request, question);
  const book = phrasebookOf(language);
  const words = new Set(contentWordsOf(question));
  const count = 2 + scene.draws.below('sentences', 2);
  const found = bestSentences(evidenceOf(scene), words, count);
  const asked = {
    text: contentWordsOf(question).slice(0, 3).join(' ') || clipWords(question, 6),
    determiner: null,
  };
  const topic = phraseNear(found[0], words) ?? asked;
  const other = phraseNear(found[1] ?? found[0], words, topic) ?? topic;
  const from = found[0]?.text.language ?? null;
  const values = {
    p: mention(topic, from, language, book),
    q: mention(other, found[1]?.text.language ?? from, language, book),
  };
  return {
    assistant_message:
      found.length === 0 ? fill(book.notFound, values) : compose(scene, found, language, book, values),
    reasoning_trace: trace(scene, question, found, book, values),
    did_web_search: toolCalls(scene.request).some((call) => call.name === WEB_TOOL),
  };
}

function languageOf(request: ChatRequest, question: string): Language {
  const marked = markedValue(request, PROMPT_MARKERS.targetLanguage);
  return marked === null ? (detectLanguage(wordsOf(question)) ?? 'en') : recogniseLanguage(marked);
}

/** Tool results; without any, passages that stand in the prompt itself. */
function evidenceOf(scene: Scene): readonly Evidence[] {
  const fromTools = toolEvidence(scene.request, scene.texts);
  if (fromTools.length > 0) return fromTools;
  const turnMessage = messageAt(scene.request, turnMessageIndex(scene.request));
  return lastArrayWith(turnMessage, ['source_descriptor', 'text']).map((passage) => ({
    cue: `KB: ${textOf(passage.source_descriptor)}`,
    text: scene.texts.take(textOf(passage.text)),
  }));
}

/** A phrase of the sentence, one that the question uses too if there is one. */
function phraseNear(
  found: FoundSentence | undefined,
  words: ReadonlySet<string>,
  except?: Phrase,
): Phrase | null {
  const phrases = found?.sentence.phrases.filter((phrase) => phrase.text !== except?.text) ?? [];
  return phrases.find(({ text }) => wordsOf(text).some((word) => words.has(word))) ?? phrases[0] ?? null;
}

function compose(
  scene: Scene,
  found: readonly FoundSentence[],
  language: Language,
  book: Phrasebook,
  values: Readonly<Record<string, string>>,
): string {
  const firstLink = scene.draws.below('link', book.answerLinks.length);
  const parts = found.map((item, index) => {
    const template =
      index === 0
        ? scene.draws.pick('answer', book.answerOpeners, '{s}')
        : (book.answerLinks[(firstLink + index) % book.answerLinks.length] ?? '{s}');
    return fill(template, { ...values, s: quoted(item, language, book) });
  });
  const closing = fill(scene.draws.pick('closing', book.answerClosings, ''), values);
  return [...parts, closing].filter((part) => part !== '').join(' ');
}

/** A sentence of the same language stands as it is; of another, it is a short quotation. */
function quoted(found: FoundSentence, language: Language, book: Phrasebook): string {
  const { text } = found.sentence;
  if (found.text.language === language) return /[.!?؟。…]["”»')\]]*$/u.test(text) ? text : `${text}.`;
  return `${book.quote(clipWords(withoutEnd(text), QUOTED_WORDS_MAX))}.`;
}

const toolCalls = (request: ChatRequest) => request.messages.flatMap((message) => message.toolCalls);

function trace(
  scene: Scene,
  question: string,
  found: readonly FoundSentence[],
  book: Phrasebook,
  values: Readonly<Record<string, string>>,
): Readonly<Record<string, unknown>> {
  const steps = found.length === 0 ? [book.thinking[0] ?? '', book.notFound] : book.thinking;
  return {
    question,
    retrieval_queries: {
      vector_db_search: queriesOf(scene.request, KNOWLEDGE_TOOL),
      web_search: queriesOf(scene.request, WEB_TOOL),
    },
    evidence: found.map((item, index) => ({
      id: `E${index + 1}`,
      cue: item.cue,
      content: item.sentence.text,
    })),
    premises: found.map((item, index) => ({
      id: `P${index + 1}`,
      text: withoutEnd(item.sentence.text),
      evidence_refs: [`E${index + 1}`],
    })),
    thinking: steps.map((step) => ({ text: fill(step, values) })),
    confidence:
      found.length === 0 ? 'low' : scene.draws.pick('confidence', ['medium', 'high', 'high'], 'high'),
    known_limits: [fill(scene.draws.pick('limit', book.limits, ''), values)],
  };
}

function queriesOf(request: ChatRequest, tool: string): string[] {
  return toolCalls(request)
    .filter((call) => call.name === tool)
    .map((call) => /"query"\s*:\s*("(?:[^"\\]|\\.)*")/u.exec(call.arguments)?.[1])
    .filter((query) => query !== undefined)
    .map((query) => textOf(parseJson(query)));
}
