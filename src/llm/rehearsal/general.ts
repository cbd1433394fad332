import type { Answer, Scene } from './scene.ts';
import type { ChatRequest } from './chat-request.ts';
import { bestSentences, type Evidence, toolEvidence } from './evidence.ts';
import { planGenericCalls } from './generic-tools.ts';
import { JsonSchemaSample } from './json-schema-sample.ts';
import { detectLanguage } from './language.ts';
import { clipWords, contentWordsOf, wordsOf } from './passage-text.ts';
import { fill } from './phrasebook.ts';
import { phrasebookOf } from './phrasebooks.ts';

/** For requests that are none of dlgforge's: an extract of what the request says, in the form it asks for. */
export function asAnybody(scene: Scene): Answer {
  const question = scene.request.messages.findLast((message) => message.role === 'user')?.content ?? '';
  const calls = planGenericCalls(scene, clipWords(question.trim(), 40));
  if (calls.length > 0) return { type: 'tools', calls };
  const text = extract(scene, question);
  const format = scene.request.responseFormat;
  if (format.type === 'text') return { type: 'text', text };
  if (format.type === 'json_object') return { type: 'object', value: { answer: text } };
  const sample = new JsonSchemaSample(format.schema, scene.draws, text).make();
  return { type: 'object', value: sample };
}

/** The two sentences of the request that fit the question best; tool results count first. */
function extract(scene: Scene, question: string): string {
  const words = new Set(contentWordsOf(question));
  const fromTools = toolEvidence(scene.request, scene.texts);
  const evidence = fromTools.length > 0 ? fromTools : textsOf(scene, scene.request);
  const found = bestSentences(evidence, words, 2);
  if (found.length > 0) return found.map((item) => item.sentence.text).join(' ');
  const book = phrasebookOf(detectLanguage(wordsOf(question)) ?? 'en');
  return fill(book.notFound, { p: book.quote(clipWords(question.trim(), 8)) });
}

const textsOf = (scene: Scene, request: ChatRequest): readonly Evidence[] =>
  request.messages
    .filter((message) => message.role === 'user' || message.role === 'system')
    .map((message) => ({ cue: '', text: scene.texts.take(message.content) }));
