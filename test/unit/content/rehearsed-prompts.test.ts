import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ChatMessage } from '../../../src/dialogue/chat.ts';
import {
  answerOutput,
  judgeOutput,
  type OutputKind,
  parseOutput,
  questionOutput,
} from '../../../src/dialogue/outputs.ts';
import {
  buildAnswerMessages,
  buildConversationJudgeMessages,
  buildQuestionMessages,
  buildTurnJudgeMessages,
  preparePrompts,
  type QuestionPromptInput,
  repairMessages,
} from '../../../src/dialogue/prompts.ts';
import { type Rehearsal, startRehearsal } from '../../../src/llm/rehearsal/server.ts';
import { shippedPromptAssets } from '../../support/prompt-files.ts';

const REASONS = ['vague', 'weak_grounding', 'other'];
const prompts = preparePrompts(shippedPromptAssets(), { judgeReasons: REASONS, topK: 4, question: '' });
const text =
  'Spring tides occur at new and full moon, when Sun, Earth and Moon stand in a line. Neap tides occur at the quarters, when the two pulls oppose each other.';
const conversation = {
  turnCount: 3,
  userPersona: 'Curious | calm | short',
  assistantPersona: 'Tutor | patient | plain',
  history: [{ userMessage: 'What is a tide?', assistantMessage: 'The rise and fall of the sea.' }],
};
const asked: Omit<QuestionPromptInput, 'targetLanguage'> = {
  ...conversation,
  mode: 'fresh',
  snippets: [{ topic_id: 'passage-1', source_descriptor: 'Tides, Springs and neaps', text }],
  seedTopic: '',
  seedQuestion: '',
  recentUserQuestions: [],
  rejectedQuestions: [],
  retryNote: '',
};

let server: Rehearsal;
beforeAll(async () => {
  server = await startRehearsal({ latency: { mean_ms: 0, distribution: 'fixed' } });
});
afterAll(() => server.close());

/** What the built-in backend answers to these prompts, read as a run reads it. */
async function ask<T>(
  kind: OutputKind<T>,
  messages: readonly ChatMessage[],
  format: 'json_schema' | 'text',
): Promise<T> {
  const response_format =
    format === 'text'
      ? { type: 'text' }
      : { type: 'json_schema', json_schema: { ...kind.spec, strict: true } };
  const response = await fetch(`${server.url}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'rehearsal', messages, response_format }),
  });
  const body = (await response.json()) as { choices: { message: { content: string } }[] };
  const parsed = parseOutput(kind.schema, body.choices[0]?.message.content ?? '');
  if (!parsed.ok) throw new Error(parsed.errors.join('\n'));
  return parsed.value;
}

describe.each(['json_schema', 'text'] as const)(
  'the shipped prompts at the rehearsal backend, %s',
  (format) => {
    test.each(['english', 'french', 'ar'])('question, answer and verdicts in %s', async (targetLanguage) => {
      const question = await ask(
        questionOutput,
        buildQuestionMessages(prompts, { ...asked, targetLanguage }),
        format,
      );
      expect(question.coverage_target).toBe('passage-1');
      expect(question.grounding_facts[0]?.source_descriptor).toBe('Tides, Springs and neaps');

      const answer = await ask(
        answerOutput,
        buildAnswerMessages(prompts, { ...conversation, targetLanguage, question }),
        format,
      );
      expect(answer.reasoning_trace.question).toBe(question.user_message);

      const turn = { userMessage: question.user_message, assistantMessage: answer.assistant_message };
      const judged = { ...conversation, targetLanguage, evidence: [{ source: 'Tides', content: text }] };
      const verdict = await ask(
        judgeOutput(REASONS),
        buildTurnJudgeMessages(prompts, { ...judged, ...turn }),
        format,
      );
      expect(verdict.score).toBeGreaterThan(0);
      const whole = buildConversationJudgeMessages(prompts, {
        ...judged,
        turns: [...conversation.history, turn],
      });
      await ask(judgeOutput(REASONS), whole, format);
    });

    test('a question that was rejected is not asked again', async () => {
      const input = { ...asked, targetLanguage: 'english' };
      const first = await ask(questionOutput, buildQuestionMessages(prompts, input), format);
      const rejected = { ...input, rejectedQuestions: [first.user_message] };
      const second = await ask(questionOutput, buildQuestionMessages(prompts, rejected), format);
      expect(second.user_message).not.toBe(first.user_message);
    });

    test('a seeded turn asks the seed question', async () => {
      const seedQuestion = 'Why is the tide later every day?';
      const messages = buildQuestionMessages(prompts, {
        ...asked,
        targetLanguage: 'english',
        mode: 'seeded',
        seedQuestion,
      });
      expect((await ask(questionOutput, messages, format)).user_message).toContain(seedQuestion);
    });

    test('a repair is answered', async () => {
      const messages = buildQuestionMessages(prompts, { ...asked, targetLanguage: 'french' });
      const question = await ask(
        questionOutput,
        repairMessages(messages, '{"foo": 1}', ['intent: missing']),
        format,
      );
      expect(question.coverage_target).toBe('passage-1');
    });

    test('a missing answer gets no points', async () => {
      const judged = {
        ...conversation,
        targetLanguage: 'english',
        userMessage: 'Why?',
        assistantMessage: '',
        evidence: [],
      };
      const verdict = await ask(judgeOutput(REASONS), buildTurnJudgeMessages(prompts, judged), format);
      expect(verdict).toMatchObject({ score: 0, answer_ok: false });
    });
  },
);
