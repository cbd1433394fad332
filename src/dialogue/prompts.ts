/**
 * From prompt assets and the state of a conversation to the messages of a model call.
 *
 * Every call has a system message, the same in a whole run, and one user message: first what only
 * grows (personas, language, history), then what belongs to this turn. One user message and not two,
 * because several chat templates refuse two of the same role in a row; a prefix cache works on
 * tokens and does not mind.
 *
 * Documents, questions and answers are data: passages, evidence and the messages to be judged are
 * written as JSON, so nothing in them can pose as a line of the prompt.
 */
import type { ChatMessage } from './chat.ts';
import {
  answerOutput,
  judgeOutput,
  type OutputKind,
  type QuestionOutput,
  questionOutput,
} from './outputs.ts';
import { jsonLines, PROMPT_MARKERS, type ShownEvidence } from './prompt-markers.ts';
import {
  type PromptAssets,
  renderTemplate,
  TASK_KEYS,
  type TaskKey,
  type TemplateValues,
} from './prompt-assets.ts';
import type { QuestionMode } from './sampling.ts';

/** What stays the same in a whole run. */
export interface RunPromptValues {
  readonly judgeReasons: readonly string[];
  /** `tools.retrieval.top_k` */
  readonly topK: number;
  /** `run.data.seeding.question`; empty when none is configured. */
  readonly question: string;
}

/** Prompt assets with their system messages already rendered. Make it once per run. */
export interface Prompts {
  readonly assets: PromptAssets;
  readonly run: RunPromptValues;
  readonly system: Readonly<Record<TaskKey, string>>;
  /** Template values of a task that are the same in a whole run. */
  readonly constants: Readonly<Record<TaskKey, TemplateValues>>;
}

/** One finished turn, as both sides saw it. */
export interface HistoryTurn {
  readonly userMessage: string;
  readonly assistantMessage: string;
}

/** What stays the same in a conversation, and its turns so far. */
export interface ConversationPromptInput {
  readonly targetLanguage: string;
  /** Planned number of turns. */
  readonly turnCount: number;
  /** Prompt texts (`personaText`); empty when personas are off. */
  readonly userPersona: string;
  readonly assistantPersona: string;
  readonly history: readonly HistoryTurn[];
}

export interface OfferedSnippet {
  /** The passage id, which the model copies into `coverage_target`. */
  readonly topic_id: string;
  readonly source_descriptor: string;
  readonly text: string;
  /** Questions lately asked about the same document. */
  readonly recent_questions?: readonly string[];
}

export interface QuestionPromptInput extends ConversationPromptInput {
  readonly mode: QuestionMode;
  readonly snippets: readonly OfferedSnippet[];
  /** Empty texts when the turn has no seed. */
  readonly seedTopic: string;
  readonly seedQuestion: string;
  readonly recentUserQuestions: readonly string[];
  /** Questions of earlier attempts at this turn that turned out to be duplicates. */
  readonly rejectedQuestions: readonly string[];
  /** A sentence on why the turn is tried again; empty on the first attempt. */
  readonly retryNote: string;
}

export interface AnswerPromptInput extends ConversationPromptInput {
  readonly question: QuestionOutput;
}

export interface TurnJudgePromptInput extends ConversationPromptInput {
  readonly userMessage: string;
  /** Empty when there is none; the judge is told so. */
  readonly assistantMessage: string;
  /** The passages that were really shown, and what the models said they used. */
  readonly evidence: readonly ShownEvidence[];
}

export interface ConversationJudgePromptInput extends Omit<ConversationPromptInput, 'history'> {
  readonly turns: readonly HistoryTurn[];
  readonly evidence: readonly ShownEvidence[];
}

export function preparePrompts(assets: PromptAssets, run: RunPromptValues): Prompts {
  const constants = byTask((task) => ({ ...runValues(run), ...outputValues(task, run) }));
  return { assets, run, constants, system: byTask((task) => systemText(assets, task, constants[task])) };
}

const byTask = <T>(of: (task: TaskKey) => T): Record<TaskKey, T> =>
  Object.fromEntries(TASK_KEYS.map((task) => [task, of(task)])) as Record<TaskKey, T>;

function systemText(assets: PromptAssets, key: TaskKey, constants: TemplateValues): string {
  const task = assets.tasks[key];
  const agent = assets.agents[task.agent];
  const sections = [
    ['Role', agent.role],
    ['Goal', agent.goal],
    ['Backstory', agent.backstory],
  ] as const;
  const persona = sections.flatMap(([label, text]) =>
    text.trim() === '' ? [] : [`${label}: ${text.trim()}`],
  );
  return [...persona, renderTemplate(task.system, constants)].join('\n\n');
}

export function outputOf(key: TaskKey, run: RunPromptValues): OutputKind<unknown> {
  if (key === 'qa_generation_task') return questionOutput;
  return key === 'kb_answer_task' ? answerOutput : judgeOutput(run.judgeReasons);
}

const outputValues = (key: TaskKey, run: RunPromptValues): TemplateValues => ({
  output_schema: JSON.stringify(outputOf(key, run).spec.schema),
});

const runValues = (run: RunPromptValues): TemplateValues => ({
  judge_reasons: run.judgeReasons.join(', '),
  judge_enabled: true,
  retrieval_default_k: run.topK,
  question: run.question,
});

/** The question of the simulated user. */
export function buildQuestionMessages(prompts: Prompts, input: QuestionPromptInput): ChatMessage[] {
  return messages(prompts, 'qa_generation_task', {
    ...conversationValues(input),
    question_mode: input.mode,
    topic_snippets: jsonLines(input.snippets),
    last_assistant_message: input.history.at(-1)?.assistantMessage ?? 'No prior assistant answer.',
    recent_user_questions: input.recentUserQuestions.length === 0 ? '' : input.recentUserQuestions,
    seed_topic: input.seedTopic,
    seed_question: input.seedQuestion === '' ? '' : JSON.stringify(input.seedQuestion),
    rejected_questions: input.rejectedQuestions.map((question) => `\n- ${oneLine(question)}`).join(''),
    retry_note: oneLine(input.retryNote),
  });
}

/** The answer of the assistant; tool rounds are appended by the caller. */
export function buildAnswerMessages(prompts: Prompts, input: AnswerPromptInput): ChatMessage[] {
  return messages(prompts, 'kb_answer_task', {
    ...conversationValues(input),
    user_message: JSON.stringify(input.question.user_message),
    user_output: input.question,
  });
}

/** The verdict on one turn; `history` holds the turns before it. */
export function buildTurnJudgeMessages(prompts: Prompts, input: TurnJudgePromptInput): ChatMessage[] {
  return messages(prompts, 'qa_judge_task', {
    ...conversationValues(input),
    judge_user_message: JSON.stringify(input.userMessage),
    judge_assistant_message: JSON.stringify(answerOrMarker(input.assistantMessage)),
    judge_evidence: jsonLines(input.evidence),
  });
}

/** The verdict on a whole conversation. */
export function buildConversationJudgeMessages(
  prompts: Prompts,
  input: ConversationJudgePromptInput,
): ChatMessage[] {
  return messages(prompts, 'qa_conversation_judge_task', {
    ...conversationValues({ ...input, history: input.turns }),
    judge_turn_count: input.turns.length,
    judge_conversation_turns: jsonLines(
      input.turns.map(({ userMessage, assistantMessage }, index) => ({
        turn: index + 1,
        user_message: userMessage,
        assistant_message: answerOrMarker(assistantMessage),
      })),
    ),
    judge_conversation_evidence: jsonLines(input.evidence),
  });
}

/** Shows a model its unusable answer and what is wrong with it, and asks for the object again. */
export function repairMessages(
  asked: readonly ChatMessage[],
  badAnswer: string,
  errors: readonly string[],
): ChatMessage[] {
  const faults = errors.slice(0, SHOWN_ERRORS_MAX).map((error) => `- ${oneLine(error)}`);
  const request = [
    PROMPT_MARKERS.repair,
    ...faults,
    'Answer the same request again with one corrected JSON object and nothing else.',
  ].join('\n');
  // Some servers refuse an assistant message without content.
  const shown = badAnswer.trim() === '' ? '(empty answer)' : badAnswer;
  return [...asked, { role: 'assistant', content: shown }, { role: 'user', content: request }];
}

const SHOWN_ERRORS_MAX = 12;

/** The text that stands for turns in prompts; further lines of a message are indented. */
export function historyText(history: readonly HistoryTurn[]): string {
  if (history.length === 0) return 'No prior turns.';
  return history
    .flatMap(({ userMessage, assistantMessage }, index) => [
      `Turn ${index + 1} - User: ${indented(userMessage)}`,
      `Turn ${index + 1} - Assistant: ${indented(assistantMessage)}`,
    ])
    .join('\n');
}

function messages(prompts: Prompts, key: TaskKey, values: TemplateValues): ChatMessage[] {
  const task = prompts.assets.tasks[key];
  const all = { ...prompts.constants[key], ...values };
  const content = [renderTemplate(task.conversation, all), renderTemplate(task.turn, all)].filter(
    (part) => part !== '',
  );
  return [
    { role: 'system', content: prompts.system[key] },
    { role: 'user', content: content.join('\n\n') },
  ];
}

const conversationValues = (input: ConversationPromptInput): TemplateValues => ({
  target_language: oneLine(input.targetLanguage),
  n_turns: input.turnCount,
  turn_index: input.history.length + 1,
  user_persona: oneLine(input.userPersona),
  assistant_persona: oneLine(input.assistantPersona),
  public_conversation_history: historyText(input.history),
});

const answerOrMarker = (answer: string): string =>
  answer.trim() === '' ? PROMPT_MARKERS.missingAnswer : answer;

/** A message that spans lines cannot pose as the next turn. */
const indented = (message: string): string => message.trim().replace(/\r\n?|[\n\u2028\u2029]/g, '\n  ');

const oneLine = (text: string): string => text.replace(/\s+/gu, ' ').trim();
