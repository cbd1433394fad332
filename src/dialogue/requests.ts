/** From a waiting state to the request of its model call. A pure function, so replaying finds paid answers again. */
import { invariant } from '../kernel/errors.ts';
import type { ChatMessage, ModelRequest, Role } from './chat.ts';
import {
  type AcceptedTurn,
  type ConversationState,
  type Exchange,
  openAttempt,
  type Purpose,
  type Stage,
  type ToolRound,
} from './conversation-state.ts';
import { answerOutput, judgeOutput, type OutputKind, questionOutput } from './outputs.ts';
import {
  buildAnswerMessages,
  buildConversationJudgeMessages,
  buildQuestionMessages,
  buildTurnJudgeMessages,
  type ConversationPromptInput,
  type Prompts,
  repairMessages,
} from './prompts.ts';
import { type DialogueSettings, TOOL_ROUNDS_MAX } from './settings.ts';
import { type EvidenceItem, evidenceOf, toolSpecs } from './tools.ts';

export interface RequestContext {
  readonly settings: DialogueSettings;
  readonly prompts: Prompts;
}

/** Questions of earlier runs and of this conversation that the user role is shown (as in 0.1.0). */
const RECENT_QUESTIONS = 10;
/** Evidence items that a conversation judge gets (as in 0.1.0). */
export const EVIDENCE_ITEMS_MAX = 120;

type CallingStage = Extract<Stage, { readonly exchange: Exchange }>;

export function roleOf(purpose: Purpose): Role {
  if (purpose === 'question') return 'user';
  return purpose === 'answer' ? 'assistant' : 'judge';
}

export function outputKindOf(purpose: Purpose, settings: DialogueSettings): OutputKind<unknown> {
  if (purpose === 'question') return questionOutput;
  return purpose === 'answer' ? answerOutput : verdictOutput(settings.judge?.reasons ?? NO_REASONS);
}

const NO_REASONS: readonly string[] = [];
/** A schema costs more to make than to use, and a run has one list of reasons. */
const verdictOutputs = new WeakMap<readonly string[], OutputKind<unknown>>();

export function verdictOutput(reasons: readonly string[]): OutputKind<unknown> {
  let output = verdictOutputs.get(reasons);
  if (output === undefined) {
    output = judgeOutput(reasons);
    verdictOutputs.set(reasons, output);
  }
  return output;
}

export function requestFor(
  state: ConversationState,
  stage: CallingStage,
  context: RequestContext,
): { readonly purpose: Purpose; readonly request: ModelRequest } {
  const { purpose, messages } = asked(state, stage, context);
  const mayUseTools =
    stage.type === 'answering' && stage.toolRounds.length < TOOL_ROUNDS_MAX && stage.exchange.broken === null;
  return {
    purpose,
    request: {
      role: roleOf(purpose),
      messages: messagesOfTry(messages, stage.exchange),
      tools: mayUseTools ? toolSpecs(context.settings) : [],
      output: outputKindOf(purpose, context.settings).spec,
    },
  };
}

/** What is sent in this try of an exchange: a later try says so, and a repair shows the answer that it repairs. */
export function messagesOfTry(
  messages: readonly ChatMessage[],
  { tries, broken }: Pick<Exchange, 'tries' | 'broken'>,
): readonly ChatMessage[] {
  const noted = tries === 0 ? messages : withRetryNote(messages, tries);
  return broken === null ? noted : repairMessages(noted, broken.content, broken.errors);
}

function asked(
  state: ConversationState,
  stage: CallingStage,
  context: RequestContext,
): { readonly purpose: Purpose; readonly messages: readonly ChatMessage[] } {
  const input = conversationInput(state, context.settings);
  switch (stage.type) {
    case 'asking':
      return { purpose: 'question', messages: questionMessages(state, stage, context, input) };
    case 'answering': {
      const { question } = openAttempt(stage);
      invariant(question !== null, 'a question precedes its answer');
      const opening = buildAnswerMessages(context.prompts, { ...input, question });
      return { purpose: 'answer', messages: [...opening, ...stage.toolRounds.flatMap(roundMessages)] };
    }
    case 'judging': {
      const { question } = openAttempt(stage);
      const messages = buildTurnJudgeMessages(context.prompts, {
        ...input,
        userMessage: question?.user_message ?? '',
        assistantMessage: stage.answer.assistant_message,
        evidence: turnEvidence(stage),
      });
      return { purpose: 'verdict', messages };
    }
    case 'judging_conversation': {
      const { history: turns, ...rest } = input;
      const evidence = state.turns.flatMap(turnEvidence).slice(0, EVIDENCE_ITEMS_MAX);
      return {
        purpose: 'conversation_verdict',
        messages: buildConversationJudgeMessages(context.prompts, { ...rest, turns, evidence }),
      };
    }
  }
}

function questionMessages(
  state: ConversationState,
  stage: Extract<Stage, { type: 'asking' }>,
  context: RequestContext,
  input: ConversationPromptInput,
): ChatMessage[] {
  const { plan, offered } = openAttempt(stage);
  const rejected = stage.attempts.slice(0, -1).flatMap((attempt) => attempt.question?.user_message ?? []);
  const own = input.history.map((turn) => turn.userMessage);
  return buildQuestionMessages(context.prompts, {
    ...input,
    mode: plan.mode,
    snippets: offered.map(({ id, descriptor, text }) => ({
      topic_id: id,
      source_descriptor: descriptor,
      text,
    })),
    seedTopic: plan.seed?.topic ?? '',
    seedQuestion: plan.seed?.question ?? '',
    recentUserQuestions: [...context.settings.recentQuestions, ...own].slice(-RECENT_QUESTIONS),
    rejectedQuestions: rejected,
    retryNote: '',
  });
}

function conversationInput(state: ConversationState, settings: DialogueSettings): ConversationPromptInput {
  const { plan } = state;
  invariant(plan !== null, 'a started conversation has a plan');
  return {
    targetLanguage: settings.languages[state.key.languageIndex]?.name ?? '',
    turnCount: plan.turnCount,
    userPersona: plan.userPersona.text,
    assistantPersona: plan.assistantPersona.text,
    history: state.turns.map((turn) => ({
      userMessage: turn.attempts.at(-1)?.question?.user_message ?? '',
      assistantMessage: turn.answer.assistant_message,
    })),
  };
}

function roundMessages(round: ToolRound): ChatMessage[] {
  return [
    { role: 'assistant', content: round.content, toolCalls: round.uses.map((use) => use.call) },
    ...round.uses.map(
      (use): ChatMessage => ({
        role: 'tool',
        toolCallId: use.call.id,
        name: use.call.name,
        content: JSON.stringify(use.result),
      }),
    ),
  ];
}

/** What was really shown to the two sides (C18): offered passages first, then tool results; each text once. */
export function turnEvidence(turn: Pick<AcceptedTurn, 'attempts' | 'toolRounds'>): EvidenceItem[] {
  const offered = (turn.attempts.at(-1)?.offered ?? []).map(({ descriptor, text }) => ({
    source: descriptor,
    content: text,
  }));
  const found = turn.toolRounds.flatMap((round) => round.uses.flatMap(evidenceOf));
  const byContent = new Map([...offered, ...found].map((item) => [item.content, item] as const));
  return [...byContent.values()];
}

/** Says that the last try failed: a model that answers equal prompts equally must get another prompt. */
function withRetryNote(messages: readonly ChatMessage[], tries: number): ChatMessage[] {
  const last = messages.findLastIndex((message) => message.role === 'user');
  return messages.map((message, position) =>
    position === last && message.role === 'user'
      ? {
          ...message,
          content: `${message.content}\n\nTry ${tries + 1}: earlier answers to this could not be used. Answer with one JSON object that fits the schema.`,
        }
      : message,
  );
}
