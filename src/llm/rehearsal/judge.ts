import { PROMPT_MARKERS } from '../../dialogue/prompt-markers.ts';
import type { Answer, Scene } from './scene.ts';
import type { ChatRequest } from './chat-request.ts';
import { toolEvidence } from './evidence.ts';
import { contentWordsOf } from './passage-text.ts';
import { lastArrayWith, markedValue, messageAt, textOf, turnMessageIndex } from './prompt-reading.ts';

const REASONS = [
  'irrelevant',
  'incorrect',
  'hallucinated',
  'weak_grounding',
  'vague',
  'incomplete',
  'unsafe',
  'other',
] as const;

/** Scores how much of the answer stands in the evidence; what is not quoted costs points. */
export function asJudge(scene: Scene): Answer {
  const message = messageAt(scene.request, turnMessageIndex(scene.request));
  const judged = judgedText(scene.request, message);
  const evidence = evidenceWords(scene, message);
  const support = supportOf(judged, evidence);
  const score = scoreOf(scene, judged.answer, support);
  const reasons = reasonsFor(scene, score, support);
  return {
    type: 'object',
    value: {
      score,
      reasons,
      notes: notesFor(judged.answer, support, reasons),
      question_ok: judged.question.trim() !== '' || judged.answer.trim() !== '',
      answer_ok: score >= 6,
    },
  };
}

interface Judged {
  readonly question: string;
  readonly answer: string;
}

/** One turn by its marked lines, or all turns of a conversation by their array or history lines. */
function judgedText(request: ChatRequest, message: string): Judged {
  const answer = markedValue(request, PROMPT_MARKERS.answer);
  if (answer !== null) return { question: markedValue(request, PROMPT_MARKERS.question) ?? '', answer };
  const turns = lastArrayWith(message, ['user_message', 'assistant_message']);
  if (turns.length > 0) {
    return {
      question: turns.map((turn) => textOf(turn.user_message)).join('\n'),
      answer: turns.map((turn) => textOf(turn.assistant_message)).join('\n'),
    };
  }
  const said = (speaker: string): string =>
    [...message.matchAll(/^Turn \d+ - (\w+): (.*)$/gmu)]
      .filter((match) => match[1] === speaker)
      .map((match) => match[2])
      .join('\n');
  return { question: said('User'), answer: said('Assistant') };
}

function evidenceWords(scene: Scene, message: string): ReadonlySet<string> {
  const shown = lastArrayWith(message, ['source', 'content']).map((item) => textOf(item.content));
  const words = new Set<string>();
  for (const content of shown) {
    for (const sentence of scene.texts.take(content).sentences)
      for (const word of sentence.words) words.add(word);
  }
  for (const { text } of toolEvidence(scene.request, scene.texts)) {
    for (const sentence of text.sentences) for (const word of sentence.words) words.add(word);
  }
  return words;
}

/**
 * The share of the evidence-like words of an answer that the evidence has. A third of the words is
 * granted: an answer needs words of its own around what it quotes, often in another language.
 */
function supportOf(judged: Judged, evidence: ReadonlySet<string>): number {
  const words = contentWordsOf(judged.answer);
  if (words.length === 0 || evidence.size === 0) return 0;
  const asked = new Set(contentWordsOf(judged.question));
  const supported = words.filter((word) => evidence.has(word)).length;
  const repeated = words.filter((word) => !evidence.has(word) && asked.has(word)).length;
  return Math.min(1, (supported + repeated / 2) / (words.length * (2 / 3)));
}

function scoreOf(scene: Scene, answer: string, support: number): number {
  if (isMissing(answer)) return 0;
  if (support < 0.15) return scene.draws.below('low', 4) + 1;
  const spread = scene.draws.unit('spread');
  return Math.max(5, Math.min(10, Math.round(5.3 + 5 * support - 5 * spread * spread)));
}

const isMissing = (answer: string): boolean =>
  answer.trim() === '' || answer === PROMPT_MARKERS.missingAnswer;

/** None for good answers; names come from the list that the prompt allows. */
function reasonsFor(scene: Scene, score: number, support: number): string[] {
  if (score >= 9) return [];
  const allowed = allowedReasons(scene.request);
  const candidates = score < 5 ? ['irrelevant', 'hallucinated', 'weak_grounding'] : softReasons(support);
  const usable = candidates.filter((reason) => allowed.includes(reason));
  const pool = usable.length > 0 ? usable : allowed;
  const first = scene.draws.pick('reason', pool, '');
  const second = scene.draws.unit('two-reasons') < 0.25 ? scene.draws.pick('second-reason', pool, '') : first;
  return [...new Set([first, second])].filter((reason) => reason !== '');
}

const softReasons = (support: number): string[] =>
  support < 0.6 ? ['weak_grounding', 'incomplete'] : ['vague', 'incomplete'];

function allowedReasons(request: ChatRequest): readonly string[] {
  const marked = markedValue(request, PROMPT_MARKERS.allowedReasons);
  const names = (marked ?? '').split(/[,;\s[\]"'`]+/u).filter((name) => name !== '');
  return names.length > 0 ? names : REASONS;
}

function notesFor(answer: string, support: number, reasons: readonly string[]): string {
  if (isMissing(answer)) return 'There is no answer to judge.';
  const share = `${Math.round(support * 100)} % of the answer is supported by the evidence shown`;
  return reasons.length === 0 ? `${share}.` : `${share}; ${reasons.join(', ').replaceAll('_', ' ')}.`;
}
