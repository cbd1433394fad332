/**
 * The lines of a prompt that something other than a model reads: the rehearsal backend finds its
 * way by them. Prompts write them with the functions below, so both sides agree by construction.
 *
 * Each marker stands at the start of a line. Values that may span lines are written as JSON
 * strings; arrays as JSON with one object per line, which models read as well as people do.
 */
export const PROMPT_MARKERS = {
  /** `Target language: fr` */
  targetLanguage: 'Target language:',
  /** `Question mode: followup` */
  questionMode: 'Question mode:',
  /** `Turn: 2 of 6` */
  turn: 'Turn:',
  /** `Seed question: "…"`; only in prompts of seeded turns. */
  seedQuestion: 'Seed question:',
  /** Followed by one question per line, each after `- `. */
  rejectedQuestions: 'Do not ask any of these again:',
  /** `Question: "…"`: what the assistant answers, and what the judge judges. */
  question: 'Question:',
  /** `Answer: "…"`: what the judge judges. */
  answer: 'Answer:',
  /** `Allowed reasons: vague, incomplete` */
  allowedReasons: 'Allowed reasons:',
  /** Stands for an answer that is missing, where the judge is shown one. */
  missingAnswer: 'MISSING_ASSISTANT_MESSAGE',
  /** Opens the message that shows a model its unusable answer and asks again. */
  repair: 'Your last answer cannot be used.',
} as const;

/** Keys of the objects that offer passages to the user role. */
export interface OfferedPassage {
  readonly topic_id: string;
  readonly source_descriptor: string;
  readonly text: string;
}

/** Keys of the objects that show evidence to the judge. */
export interface ShownEvidence {
  readonly source: string;
  readonly content: string;
}

/** Keys of the objects that show the turns of a whole conversation to the judge. */
export interface ShownTurn {
  readonly turn: number;
  readonly user_message: string;
  readonly assistant_message: string;
}

export const targetLanguageLine = (language: string): string =>
  `${PROMPT_MARKERS.targetLanguage} ${language}`;

export const questionModeLine = (mode: string): string => `${PROMPT_MARKERS.questionMode} ${mode}`;

/** `turn` counts from 1. */
export const turnLine = (turn: number, turns: number): string => `${PROMPT_MARKERS.turn} ${turn} of ${turns}`;

export const seedQuestionLine = (question: string): string =>
  `${PROMPT_MARKERS.seedQuestion} ${JSON.stringify(question)}`;

export const questionLine = (question: string): string =>
  `${PROMPT_MARKERS.question} ${JSON.stringify(question)}`;

export const answerLine = (answer: string): string => `${PROMPT_MARKERS.answer} ${JSON.stringify(answer)}`;

export const allowedReasonsLine = (reasons: readonly string[]): string =>
  `${PROMPT_MARKERS.allowedReasons} ${reasons.join(', ')}`;

/** The marker line and one line per question; an empty text when there are none. */
export function rejectedQuestionsBlock(questions: readonly string[]): string {
  if (questions.length === 0) return '';
  return [PROMPT_MARKERS.rejectedQuestions, ...questions.map((question) => `- ${oneLine(question)}`)].join(
    '\n',
  );
}

/** A JSON array with one object per line. */
export function jsonLines(items: readonly (OfferedPassage | ShownEvidence | ShownTurn)[]): string {
  return items.length === 0 ? '[]' : `[\n${items.map((item) => JSON.stringify(item)).join(',\n')}\n]`;
}

const oneLine = (text: string): string => text.replace(/\s+/gu, ' ').trim();
