import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Rehearsal, startRehearsal } from '../../../../src/llm/rehearsal/server.ts';
import {
  ANSWER_FORMAT,
  answerMessages,
  chat,
  QUESTION_FORMAT,
  questionMessages,
  SNIPPETS,
  TOOLS,
} from './rehearsed-calls.ts';

let one: Rehearsal;
let other: Rehearsal;
beforeAll(async () => {
  one = await startRehearsal({ seed: 11 });
  // Another server, with other timing, that has answered other things before.
  other = await startRehearsal({
    seed: 11,
    latency: { mean_ms: 2, distribution: 'lognormal', seed: 99 },
    capacity: 2,
  });
});
afterAll(async () => {
  await one.close();
  await other.close();
});

const question = {
  user_message: 'How does a colony survive the winter?',
  intent: 'clarify' as const,
  difficulty: 'easy' as const,
  grounding_facts: [],
  coverage_target: 'winter-0',
  notes_for_assistant: [],
};

const requests = fc.oneof(
  fc
    .record({ persona: fc.string(), language: fc.constantFrom('en', 'fr', 'ar', 'es', 'de') })
    .map((input) => ({
      messages: questionMessages({ userPersona: input.persona, targetLanguage: input.language }),
      response_format: QUESTION_FORMAT as unknown,
    })),
  fc.constantFrom('en', 'fr', 'ar').map((language) => ({
    messages: answerMessages(question, language),
    tools: TOOLS,
    response_format: ANSWER_FORMAT as unknown,
  })),
  fc.string({ minLength: 1 }).map((content) => ({ messages: [{ role: 'user', content }] })),
);

/** All of a response but what the prefix cache knew, which is the server's state and no answer. */
const essence = (reply: Awaited<ReturnType<typeof chat>>) => {
  const { usage: _usage, ...answer } = reply.body;
  return { ...answer, key: reply.headers['x-rehearsal-key'] };
};

describe('determinism', () => {
  it('gives equal requests equal answers, on any server, at any time and in any order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(requests, { minLength: 1, maxLength: 6 }), async (batch) => {
        const first = await Promise.all(batch.map(async (body) => essence(await chat(one.url, body))));
        const later = await Promise.all(
          batch.toReversed().map(async (body) => essence(await chat(other.url, body))),
        );
        expect(later.toReversed()).toEqual(first);
      }),
      { numRuns: 25 },
    );
  });

  it('gives the same answer in all response formats that a client may fall back to', async () => {
    const messages = questionMessages({ userPersona: 'falls back' });
    const formats = [QUESTION_FORMAT, { type: 'json_object' }, { type: 'text' }, undefined];
    const replies = await Promise.all(
      formats.map((format) => chat(one.url, { messages, ...(format ? { response_format: format } : {}) })),
    );
    expect(new Set(replies.map((reply) => JSON.stringify(essence(reply)))).size).toBe(1);
  });

  it('answers otherwise for another seed, model or message', async () => {
    const ask = async (url: string, changes: Record<string, unknown> = {}) =>
      (await chat(url, { messages: questionMessages(), ...changes })).headers['x-rehearsal-key'];
    const reseeded = await startRehearsal({ seed: 12 });
    const keys = [
      await ask(one.url),
      await ask(reseeded.url),
      await ask(one.url, { model: 'another' }),
      await ask(one.url, { messages: questionMessages({ snippets: SNIPPETS.slice(1) }) }),
      await ask(one.url, { tools: TOOLS }),
    ];
    await reseeded.close();
    expect(new Set(keys).size).toBe(keys.length);
  });
});
