/**
 * What each model must answer: a zod schema that decides what is stored, and a strict JSON Schema
 * that is sent along. The zod side forgives what loses nothing (a missing list, a text where a list
 * of texts belongs, `"8"` for 8) and refuses every wrong type that would end up in a record.
 */
import { z } from 'zod';
import type { OutputSpec } from './chat.ts';
import { extractObjects } from './json-extract.ts';
import { boolean, enumeration, list, number, object, text } from './json-schema.ts';

export const INTENTS = [
  'clarify',
  'how_to',
  'troubleshoot',
  'compare',
  'edge_case',
  'example_request',
  'decision_support',
  'constraints',
] as const;
export const DIFFICULTIES = ['easy', 'medium', 'hard'] as const;
export const CONFIDENCES = ['low', 'medium', 'high'] as const;

/** A schema of stored values together with what the model is told about it. */
export interface OutputKind<T> {
  readonly spec: OutputSpec;
  readonly schema: z.ZodType<T>;
}

const written = z.string().trim().min(1, 'must not be empty');
const textOrNothing = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const choice = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.preprocess((value) => (typeof value === 'string' ? choiceForm(value) : value), z.enum(values));
const choiceForm = (value: string): string =>
  value
    .trim()
    .toLowerCase()
    .replaceAll(/[\s-]+/g, '_');

/** A missing list is an empty one; a single value stands for a list of one. */
const listOf = <S extends z.ZodType>(item: S) =>
  z.preprocess(
    (value) => (value === undefined || value === null ? [] : Array.isArray(value) ? value : [value]),
    z.array(item),
  );
const texts = listOf(z.string().trim()).transform((items) => items.filter((item) => item !== ''));

const question = z.looseObject({
  user_message: written,
  intent: choice(INTENTS),
  difficulty: choice(DIFFICULTIES),
  grounding_facts: listOf(z.looseObject({ fact: z.string(), source_descriptor: textOrNothing })),
  /** Empty only when nothing was offered. */
  coverage_target: z
    .string()
    .trim()
    .nullable()
    .transform((value) => value ?? ''),
  notes_for_assistant: texts,
});
export type QuestionOutput = z.output<typeof question>;

const thought = z.preprocess(
  (value) => (typeof value === 'string' ? { text: value } : value),
  z.looseObject({ text: z.string() }),
);

const reasoningTrace = z.looseObject({
  question: textOrNothing,
  retrieval_queries: z.preprocess(
    (value) => value ?? {},
    z.looseObject({ vector_db_search: texts, web_search: texts }),
  ),
  evidence: listOf(z.looseObject({ id: textOrNothing, cue: textOrNothing, content: z.string() })),
  premises: listOf(z.looseObject({ id: textOrNothing, text: z.string(), evidence_refs: texts })),
  thinking: listOf(thought),
  confidence: choice(CONFIDENCES),
  known_limits: texts,
});

const answer = z.looseObject({
  assistant_message: written,
  reasoning_trace: reasoningTrace,
  /** Missing: whether a web search was made is known from the tool events. */
  did_web_search: z
    .boolean()
    .nullish()
    .transform((value) => value ?? undefined)
    .optional(),
});
export type AnswerOutput = z.output<typeof answer>;

const score = z.preprocess(
  (value) => (typeof value === 'string' && /^\s*\d+(?:\.\d+)?\s*$/.test(value) ? Number(value) : value),
  z.number().min(0).max(10),
);

const verdict = (reasons: readonly string[]) =>
  z.looseObject({
    score,
    reasons: listOf(allowedReason(reasons)).transform((items) => [...new Set(items)]),
    notes: textOrNothing,
    question_ok: z.boolean(),
    answer_ok: z.boolean(),
  });
export type JudgeOutput = z.output<ReturnType<typeof verdict>>;

/** The configured spelling of a reason, whatever the model's case; without configured reasons, any text. */
function allowedReason(reasons: readonly string[]) {
  const spelling = new Map(reasons.map((reason) => [choiceForm(reason), reason]));
  return z.string().transform((value, context) => {
    if (spelling.size === 0) return value.trim();
    const known = spelling.get(choiceForm(value));
    if (known !== undefined) return known;
    context.addIssue({ code: 'custom', message: `must be one of ${reasons.join(', ')}`, input: value });
    return z.NEVER;
  });
}

export const questionOutput: OutputKind<QuestionOutput> = {
  schema: question,
  spec: {
    name: 'dlgforge_question',
    schema: object({
      user_message: text('The user message, entirely in the target language.'),
      intent: enumeration(INTENTS),
      difficulty: enumeration(DIFFICULTIES),
      grounding_facts: list(
        object({
          fact: text(
            'A statement of the chosen passage that the question rests on, in the language of the passage.',
          ),
          source_descriptor: text('The source_descriptor of the chosen passage.'),
        }),
      ),
      coverage_target: text('The topic_id of the one chosen passage, copied exactly.'),
      notes_for_assistant: list(text('A hint on what a good answer covers.')),
    }),
  },
};

export const answerOutput: OutputKind<AnswerOutput> = {
  schema: answer,
  spec: {
    name: 'dlgforge_answer',
    schema: object({
      assistant_message: text('The answer for the user, entirely in the target language.'),
      reasoning_trace: object({
        question: text('A copy of the user message.'),
        retrieval_queries: object({
          vector_db_search: list(text('A query that was sent to vector_db_search.')),
          web_search: list(text('A query that was sent to web_search.')),
        }),
        evidence: list(
          object({
            id: text('E1, E2, …'),
            cue: text('Starts with "KB:" or "Web:", then a few words that name the place.'),
            content: text('What the source says, quoted or closely paraphrased.'),
          }),
        ),
        premises: list(
          object({
            id: text('P1, P2, …'),
            text: text('A statement that the answer rests on.'),
            evidence_refs: list(text('The id of a piece of evidence.')),
          }),
        ),
        thinking: list(object({ text: text('One step from the premises towards the answer.') })),
        confidence: enumeration(CONFIDENCES),
        known_limits: list(text('What the evidence does not settle.')),
      }),
      did_web_search: boolean('True only when web_search was called for this answer.'),
    }),
  },
};

export function judgeOutput(reasons: readonly string[]): OutputKind<JudgeOutput> {
  return {
    schema: verdict(reasons),
    spec: {
      name: 'dlgforge_verdict',
      schema: object({
        score: number('From 0 (useless) to 10 (flawless).'),
        reasons: list(reasons.length === 0 ? text('A reason for a lower score.') : enumeration(reasons)),
        notes: text('One or two sentences on what decided the score.'),
        question_ok: boolean('True when the user message is natural, clear and fits the conversation.'),
        answer_ok: boolean('True when the answer is correct, supported by the evidence, and complete.'),
      }),
    },
  };
}

export type ParsedOutput<T> =
  | { readonly ok: true; readonly value: T }
  /** In words for the model, so that one repair call can show them. */
  | { readonly ok: false; readonly errors: readonly string[] };

/**
 * The value in a model's text. Of several objects the last one that satisfies the schema counts: a
 * model that writes two has usually corrected itself.
 */
export function parseOutput<T>(schema: z.ZodType<T>, modelText: string): ParsedOutput<T> {
  const { objects, problems } = extractObjects(modelText);
  let closest: readonly string[] | null = null;
  for (const candidate of objects.toReversed()) {
    const result = schema.safeParse(candidate);
    if (result.success) return { ok: true, value: result.data };
    const errors = result.error.issues.map(issueText);
    if (closest === null || errors.length < closest.length) closest = errors;
  }
  return { ok: false, errors: closest ?? problems };
}

function issueText(issue: z.core.$ZodIssue): string {
  const path = issue.path.map(String).join('.');
  return path === '' ? issue.message : `${path}: ${issue.message}`;
}
