import { DIFFICULTIES } from '../../dialogue/outputs.ts';
import { PROMPT_MARKERS } from '../../dialogue/prompt-markers.ts';
import { normaliseQuestion } from '../../dialogue/question-key.ts';
import type { Answer, Scene } from './scene.ts';
import { type Language, recogniseLanguage } from './language.ts';
import { mention } from './mention.ts';
import { clipWords, type PassageText, type Phrase, type Sentence, withoutEnd } from './passage-text.ts';
import { fill, type Phrasebook } from './phrasebook.ts';
import { phrasebookOf, SHARED_DUPLICATES } from './phrasebooks.ts';
import {
  lastArrayWith,
  markedValue,
  messageAt,
  rejectedQuestions,
  textOf,
  turnMessageIndex,
} from './prompt-reading.ts';

const TRIES_MAX = 32;
const FIRST_PASSAGE_RATE = 0.7;
const NOTHING: Phrase = { text: '…', determiner: null };

interface Ground {
  readonly topicId: string;
  readonly descriptor: string;
  readonly text: PassageText;
  readonly sentence: Sentence;
}

interface Question {
  readonly text: string;
  readonly intent: string;
  readonly ground: Ground | null;
  /** The two phrases that it is about, as they stand in it. */
  readonly values: { readonly p: string; readonly q: string };
}

/** Asks a question about one of the offered passages, in the target language. */
export function asUser(scene: Scene): Answer {
  const turnMessage = messageAt(scene.request, turnMessageIndex(scene.request));
  const language = recogniseLanguage(markedValue(scene.request, PROMPT_MARKERS.targetLanguage) ?? '');
  const book = phrasebookOf(language);
  const rejected = rejectedQuestions(turnMessage);
  const isRejected = (text: string): boolean => rejected.size > 0 && rejected.has(normaliseQuestion(text));
  let question = draw(scene, turnMessage, language, book, 0);
  for (let attempt = 1; attempt < TRIES_MAX && isRejected(question.text); attempt += 1) {
    question = draw(scene, turnMessage, language, book, attempt);
  }
  const message = scene.duplicate ? pooled(scene, book) : question.text;
  return {
    type: 'object',
    value: {
      user_message: message,
      intent: question.intent,
      difficulty: scene.draws.pick('difficulty', DIFFICULTIES, 'medium'),
      grounding_facts:
        question.ground === null
          ? []
          : [{ fact: question.ground.sentence.text, source_descriptor: question.ground.descriptor }],
      coverage_target: question.ground?.topicId ?? '',
      notes_for_assistant: [fill(scene.draws.pick('note', book.notes, '{p}'), question.values)],
    },
  };
}

function pooled(scene: Scene, book: Phrasebook): string {
  return scene.draws.pick(
    'duplicate',
    [...book.duplicates, ...SHARED_DUPLICATES],
    SHARED_DUPLICATES[0] ?? '',
  );
}

function draw(
  scene: Scene,
  turnMessage: string,
  language: Language,
  book: Phrasebook,
  attempt: number,
): Question {
  const { draws } = scene;
  const ground = drawGround(scene, turnMessage, attempt);
  const [phrase, other] = drawPhrases(scene, ground, attempt);
  const from = ground?.text.language ?? null;
  const values = { p: mention(phrase, from, language, book), q: mention(other, from, language, book) };
  const mode = markedValue(scene.request, PROMPT_MARKERS.questionMode) ?? 'fresh';
  const openers = mode === 'followup' || mode === 'adjacent' ? book.followUpOpeners : book.openers;
  const opener = draws.pick('opener', openers, '', attempt);
  const seed = markedValue(scene.request, PROMPT_MARKERS.seedQuestion) ?? '';
  if (seed !== '')
    return { text: `${attempt === 0 ? '' : opener}${seed}`, intent: 'clarify', ground, values };

  const template = draws.pick(
    'question',
    book.questions,
    { intent: 'clarify' as const, text: '{p}' },
    attempt,
  );
  const statement = clipWords(withoutEnd(ground?.sentence.text ?? phrase.text), 12);
  const body = fill(template.text, { ...values, s: book.quote(statement) });
  const angle = draws.pick('angle', book.angles, '', attempt);
  return { text: book.ask(opener, body + angle), intent: template.intent, ground, values };
}

function drawGround(scene: Scene, turnMessage: string, attempt: number): Ground | null {
  const offered = lastArrayWith(turnMessage, ['topic_id', 'text']);
  // The first passage is the one that the plan wants asked about, so it is preferred as the prompts ask.
  const first = scene.draws.unit('first', attempt) < FIRST_PASSAGE_RATE ? offered[0] : undefined;
  const passage = first ?? scene.draws.pick('passage', offered, null, attempt);
  const text = scene.texts.take(passage === null ? longestParagraph(scene) : textOf(passage.text));
  const sentence = scene.draws.pick('sentence', text.sentences, null, attempt);
  if (sentence === null) return null;
  return {
    topicId: textOf(passage?.topic_id),
    descriptor: textOf(passage?.source_descriptor),
    text,
    sentence,
  };
}

/** For clients that offer no passages: whatever else the request talks about. */
function longestParagraph(scene: Scene): string {
  const paragraphs = scene.request.messages
    .filter((message) => message.role !== 'system')
    .flatMap((message) => message.content.split(/\n\s*\n/u));
  return paragraphs.reduce((longest, text) => (text.length > longest.length ? text : longest), '');
}

/** Two different phrases: of one sentence, or the second one of another sentence of the passage. */
function drawPhrases(scene: Scene, ground: Ground | null, attempt: number): readonly [Phrase, Phrase] {
  if (ground === null) return [NOTHING, NOTHING];
  const { sentence, text } = ground;
  const phrase = scene.draws.pick('phrase', sentence.phrases, NOTHING, attempt);
  const different = (candidate: Phrase): boolean =>
    candidate.text.toLowerCase() !== phrase.text.toLowerCase();
  const near = scene.draws.unit('near', attempt) < 0.6 ? sentence.phrases.filter(different) : [];
  const others = near.length > 0 ? near : text.sentences.flatMap((item) => item.phrases).filter(different);
  const statement: Phrase = { text: clipWords(withoutEnd(sentence.text), 8), determiner: null };
  return [phrase, scene.draws.pick('other', others, statement, attempt)];
}
