import { describe, expect, it } from 'vitest';
import { answerOutput, judgeOutput, parseOutput, questionOutput } from '../../../../src/dialogue/outputs.ts';
import { repairMessages } from '../../../../src/dialogue/prompts.ts';
import { normaliseQuestion } from '../../../../src/dialogue/question-key.ts';
import {
  ANSWER_FORMAT,
  ARABIC,
  answerMessages,
  answerWithTools,
  chat,
  FRENCH,
  JUDGE_FORMAT,
  judgeMessages,
  QUESTION_FORMAT,
  questionMessages,
  REASONS,
  rehearsing,
  SNIPPETS,
  TOOLS,
} from './rehearsed-calls.ts';

function parsed<T>(kind: { readonly schema: Parameters<typeof parseOutput<T>>[0] }, content: string): T {
  const result = parseOutput(kind.schema, content);
  if (!result.ok) throw new Error(`not usable: ${result.errors.join('; ')}\n${content}`);
  return result.value;
}

const ask = async (url: string, changes: Parameters<typeof questionMessages>[0] = {}) =>
  parsed(
    questionOutput,
    (await chat(url, { messages: questionMessages(changes), response_format: QUESTION_FORMAT })).content,
  );

/** Letters of another script than the Arabic one. */
const FOREIGN = /[\p{L}--\p{scx=Arabic}]/v;

describe('the user', () => {
  it('asks about an offered passage and quotes its fact word for word', () =>
    rehearsing(async ({ url }) => {
      for (let turn = 1; turn <= 12; turn += 1) {
        const question = await ask(url, { turnCount: turn });
        const target = SNIPPETS.find((snippet) => snippet.topic_id === question.coverage_target);
        const text = target?.text.replace(/\s+/gu, ' ');
        expect(text).toContain(question.grounding_facts[0]?.fact);
        expect(question.grounding_facts[0]?.source_descriptor).toBe(target?.source_descriptor);
        expect(question.user_message).toMatch(/\?$/u);
        expect(question.user_message).not.toMatch(/document|passage|text|source/iu);
      }
    }));

  it('rarely asks the same in hundreds of conversations over three passages', () =>
    rehearsing(async ({ url }) => {
      const asked = await Promise.all(
        Array.from({ length: 300 }, async (_unused, index) => ask(url, { userPersona: `Persona ${index}` })),
      );
      const different = new Set(asked.map((question) => normaliseQuestion(question.user_message)));
      expect(different.size).toBeGreaterThan(290);
    }));

  it('does not ask again what was rejected', () =>
    rehearsing(async ({ url }) => {
      const rejected: string[] = [];
      for (let attempt = 0; attempt < 12; attempt += 1) {
        const question = await ask(url, { snippets: SNIPPETS.slice(0, 1), rejectedQuestions: rejected });
        expect(rejected.map(normaliseQuestion)).not.toContain(normaliseQuestion(question.user_message));
        rejected.push(question.user_message);
      }
    }));

  it('asks the seed question of a seeded turn', () =>
    rehearsing(async ({ url }) => {
      const seedQuestion = 'How warm is "warm" for a winter cluster?';
      expect((await ask(url, { mode: 'seeded', seedQuestion })).user_message).toBe(seedQuestion);
    }));

  it('finds no passages and still gives a usable question', () =>
    rehearsing(async ({ url }) => {
      const question = await ask(url, {
        snippets: [],
        history: [{ userMessage: 'What do bees eat in winter?', assistantMessage: SNIPPETS[0]?.text ?? '' }],
      });
      expect(question).toMatchObject({ coverage_target: '' });
      expect(question.user_message.length).toBeGreaterThan(10);
    }));
});

describe('languages', () => {
  it.each(['ar', 'Arabic', 'msa', 'morocco', 'egypt', 'gulf', 'levantine', 'العربية'])(
    'writes %s in Arabic script',
    (targetLanguage) =>
      rehearsing(async ({ url }) => {
        const question = await ask(url, { targetLanguage, snippets: [ARABIC] });
        expect(question.user_message).not.toMatch(FOREIGN);
        expect(question.user_message).toMatch(/؟$/u);
        const { content } = await answerWithTools(url, answerMessages(question, targetLanguage), [ARABIC]);
        const answer = parsed(answerOutput, content);
        expect(answer.assistant_message).not.toMatch(FOREIGN);
      }),
  );

  it('frames English evidence in Arabic sentences', () =>
    rehearsing(async ({ url }) => {
      for (let turnCount = 1; turnCount <= 10; turnCount += 1) {
        const { user_message: message } = await ask(url, { targetLanguage: 'Arabic', turnCount });
        expect(message.replace(/«[^»]*»/gu, '')).not.toMatch(FOREIGN);
        expect(message).toMatch(/«[A-Za-z]/u);
      }
    }));

  it.each(['fr', 'fr-CA', 'French', 'français', 'france'])('writes %s in French', (targetLanguage) =>
    rehearsing(async ({ url }) => {
      const written: string[] = [];
      for (let turnCount = 1; turnCount <= 4; turnCount += 1) {
        const question = await ask(url, { targetLanguage, turnCount, snippets: [FRENCH] });
        const { content } = await answerWithTools(url, answerMessages(question, targetLanguage), [FRENCH]);
        written.push(question.user_message, parsed(answerOutput, content).assistant_message);
      }
      expect(written.join(' ')).toMatch(/[éèêàç]/u);
      expect(written.join(' ')).not.toMatch(/\b(?:what|how|the|this)\b/iu);
    }),
  );

  it.each([
    ['es', /¿/u],
    ['German', /\b(?:was|wie|welche|warum|woran|womit|gilt|gibt|sollte|können)\b/iu],
    ['klingon', /\b(?:what|how|why|where|does|could|are|if)\b/iu],
  ])('writes %s', (targetLanguage, expected) =>
    rehearsing(async ({ url }) => {
      expect((await ask(url, { targetLanguage })).user_message).toMatch(expected);
    }),
  );
});

describe('the assistant', () => {
  it('searches first, in one round or two, sometimes twice at once, and quotes what was found', () =>
    rehearsing(async ({ url }) => {
      const loops = [];
      for (let turnCount = 1; turnCount <= 24; turnCount += 1) {
        const question = await ask(url, { turnCount });
        const loop = await answerWithTools(url, answerMessages(question, 'English'), SNIPPETS);
        const answer = parsed(answerOutput, loop.content);
        loops.push(loop);
        const trace = answer.reasoning_trace;
        expect(trace.question).toBe(question.user_message);
        expect(trace.retrieval_queries.vector_db_search).toEqual(loop.queries);
        expect(trace.evidence.map((item) => item.id)).toEqual(
          trace.evidence.map((_unused, index) => `E${index + 1}`),
        );
        for (const item of trace.evidence) {
          expect(item.cue).toMatch(/^KB: Beekeeping, /u);
          expect(SNIPPETS.some((snippet) => snippet.text.replace(/\s+/gu, ' ').includes(item.content))).toBe(
            true,
          );
          expect(answer.assistant_message).toContain(item.content);
        }
        expect(trace.premises.length * trace.thinking.length * trace.known_limits.length).toBeGreaterThan(0);
        expect(answer.did_web_search).toBe(false);
      }
      expect(new Set(loops.map((loop) => loop.rounds))).toEqual(new Set([1, 2]));
      expect(loops.some((loop) => loop.queries.length > loop.rounds)).toBe(true);
      expect(loops.every((loop) => loop.queries.every((query) => query.split(' ').length > 1))).toBe(true);
    }));

  it('says so when nothing is found, after trying other words', () =>
    rehearsing(async ({ url }) => {
      const loop = await answerWithTools(url, answerMessages(await ask(url), 'English'), []);
      expect(loop.rounds).toBe(3);
      const answer = parsed(answerOutput, loop.content);
      expect(answer.assistant_message).toMatch(/could not find/u);
      expect(answer.reasoning_trace).toMatchObject({ confidence: 'low', evidence: [] });
    }));

  it('makes no call when tools are not to be used, and one when they must', () =>
    rehearsing(async ({ url }) => {
      const messages = answerMessages(await ask(url), 'English');
      const body = { messages, tools: TOOLS, response_format: ANSWER_FORMAT };
      expect((await chat(url, { ...body, tool_choice: 'none' })).toolCalls).toEqual([]);
      const forced = await chat(url, {
        ...body,
        tool_choice: { type: 'function', function: { name: 'vector_db_search' } },
      });
      expect(forced).toMatchObject({ finishReason: 'tool_calls' });
      expect(forced.toolCalls).toHaveLength(1);
    }));

  it('does not search again when it is only asked for a repair', () =>
    rehearsing(async ({ url }) => {
      const loop = await answerWithTools(url, answerMessages(await ask(url), 'English'), SNIPPETS);
      const repair = repairMessages([], 'no JSON', ['assistant_message: must not be empty']);
      const reply = await chat(url, { messages: [...loop.messages, ...repair], tools: TOOLS });
      expect(reply.toolCalls).toEqual([]);
      expect(parsed(answerOutput, reply.content).reasoning_trace.evidence.length).toBeGreaterThan(0);
    }));
});

describe('the judge', () => {
  const verdictOn = async (url: string, answer: string) =>
    parsed(
      judgeOutput(REASONS),
      (
        await chat(url, {
          messages: judgeMessages('Why is moisture dangerous?', answer, SNIPPETS),
          response_format: JUDGE_FORMAT,
        })
      ).content,
    );

  it('scores what stands in the evidence from 5 to 10, with reasons below 9', () =>
    rehearsing(async ({ url }) => {
      const answers = Array.from(
        { length: 40 },
        (_unused, index) =>
          `Moisture is more dangerous than cold, because wet bees lose heat quickly. (${index})`,
      );
      const verdicts = await Promise.all(answers.map((answer) => verdictOn(url, answer)));
      expect(new Set(verdicts.map((verdict) => verdict.score)).size).toBeGreaterThanOrEqual(3);
      for (const verdict of verdicts) {
        expect(verdict.score).toBeGreaterThanOrEqual(5);
        expect(verdict.reasons.length > 0).toBe(verdict.score < 9);
      }
    }));

  it('scores inventions low and a missing answer 0', () =>
    rehearsing(async ({ url }) => {
      const invented = await verdictOn(
        url,
        'Penguins migrate towards Antarctica whenever volcanoes erupt nearby.',
      );
      expect(invented.score).toBeLessThan(5);
      expect(invented).toMatchObject({ answer_ok: false });
      expect(await verdictOn(url, '')).toMatchObject({ score: 0, answer_ok: false });
    }));
});
