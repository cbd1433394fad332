import { describe, expect, it } from 'vitest';
import {
  answerOutput,
  judgeOutput,
  type OutputKind,
  parseOutput,
  questionOutput,
} from '../../../../src/dialogue/outputs.ts';
import type { RehearsalOptionsInput } from '../../../../src/llm/rehearsal/options.ts';
import {
  ANSWER_FORMAT,
  answerMessages,
  chat,
  type ChatReply,
  JUDGE_FORMAT,
  judgeMessages,
  QUESTION_FORMAT,
  questionMessages,
  REASONS,
  rehearsing,
  SNIPPETS,
  TOOLS,
} from './rehearsed-calls.ts';

const CALLS = 200;
const RATE = 0.25;

const question = (index: number) => ({
  messages: questionMessages({ userPersona: `Persona ${index}` }),
  response_format: QUESTION_FORMAT,
});

/** In batches, so that a test does not hold hundreds of connections. */
async function many<T>(count: number, call: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let start = 0; start < count; start += 50) {
    const batch = Array.from({ length: Math.min(50, count - start) }, (_unused, index) =>
      call(start + index),
    );
    results.push(...(await Promise.all(batch)));
  }
  return results;
}

/** Four standard deviations of a binomial count. */
const near = (count: number, rate = RATE, calls = CALLS): boolean =>
  Math.abs(count - rate * calls) < 4 * Math.sqrt(calls * rate * (1 - rate));

describe('transport faults', () => {
  it('answers 429 with Retry-After at its rate, and a retry is drawn anew', () =>
    rehearsing(
      async ({ url, stats }) => {
        const replies = await many(CALLS, (index) => chat(url, question(index)));
        const limited = replies.filter((reply) => reply.status === 429);
        expect(near(limited.length)).toBe(true);
        expect(limited[0]?.headers['retry-after']).toBe('0.25');
        expect(limited[0]?.body).toMatchObject({ error: { code: 'rate_limit_exceeded' } });
        expect(stats().outcomes.rate_limited).toBe(limited.length);

        const first = replies.findIndex((reply) => reply.status === 429);
        const retries = await many(12, () => chat(url, question(first)));
        expect(retries.some((reply) => reply.status === 200)).toBe(true);
      },
      { rate_limit_rate: RATE, retry_after_s: 0.25 },
    ));

  it('answers 5xx at its rate', () =>
    rehearsing(
      async ({ url }) => {
        const replies = await many(CALLS, (index) => chat(url, question(index)));
        const failed = replies.filter((reply) => reply.status >= 500);
        expect(near(failed.length)).toBe(true);
        expect(new Set(failed.map((reply) => reply.status))).toEqual(new Set([500, 502, 503, 504]));
      },
      { server_error_rate: RATE },
    ));

  it('resets connections at its rate', () =>
    rehearsing(
      async ({ url, stats }) => {
        const outcomes = await many(CALLS, (index) =>
          chat(url, question(index)).then(
            () => 'answered',
            () => 'reset',
          ),
        );
        expect(near(outcomes.filter((outcome) => outcome === 'reset').length)).toBe(true);
        expect(near(stats().outcomes.reset ?? 0)).toBe(true);
      },
      { reset_rate: RATE },
    ));

  it('stalls at its rate, then answers', () =>
    rehearsing(
      async ({ url, stats }) => {
        const tookMs = await many(60, async (index) => {
          const start = performance.now();
          expect((await chat(url, question(index))).status).toBe(200);
          return performance.now() - start;
        });
        expect(near(stats().stalled, RATE, 60)).toBe(true);
        expect(tookMs.filter((ms) => ms >= 149).length).toBeGreaterThanOrEqual(stats().stalled);
      },
      { stall_rate: RATE, stall_s: 0.15 },
    ));

  it('draws the same faults in the same order for the same seed', async () => {
    const statuses: number[][] = [];
    for (let round = 0; round < 2; round += 1) {
      await rehearsing(
        async ({ url }) => {
          statuses.push(
            (await many(60, (index) => chat(url, question(index % 20)))).map((reply) => reply.status),
          );
        },
        { rate_limit_rate: 0.3, server_error_rate: 0.3, capacity: 1 },
      );
    }
    expect(statuses[0]?.toSorted()).toEqual(statuses[1]?.toSorted());
    expect(new Set(statuses[0]).size).toBeGreaterThan(2);
  });
});

interface RoleCase {
  readonly role: string;
  readonly kind: OutputKind<unknown>;
  readonly body: (index: number) => Record<string, unknown>;
}

const ROLE_CASES: readonly RoleCase[] = [
  { role: 'user', kind: questionOutput, body: question },
  {
    role: 'assistant',
    kind: answerOutput,
    body: (index) => ({
      messages: answerMessages(
        {
          user_message: `Why is moisture dangerous in month ${index}?`,
          intent: 'clarify',
          difficulty: 'easy',
          grounding_facts: [],
          coverage_target: '',
          notes_for_assistant: [],
        },
        'English',
      ),
      response_format: ANSWER_FORMAT,
    }),
  },
  {
    role: 'judge',
    kind: judgeOutput(REASONS),
    body: (index) => ({
      messages: judgeMessages(`Question ${index}?`, SNIPPETS[0]?.text ?? '', SNIPPETS),
      response_format: JUDGE_FORMAT,
    }),
  },
];

const usable = (kind: OutputKind<unknown>, reply: ChatReply): boolean =>
  parseOutput(kind.schema, reply.content).ok;

describe.each(ROLE_CASES)('content faults of the $role', ({ kind, body }) => {
  it.each(['truncated_rate', 'malformed_rate', 'wrong_type_rate', 'empty_rate'] as const)(
    '%s makes an answer unusable, also for a careful reader, at its rate',
    (knob) =>
      rehearsing(
        async ({ url, stats, setOptions }) => {
          const replies = await many(60, (index) => chat(url, body(index)));
          const bad = replies.filter((reply) => !usable(kind, reply));
          expect(near(bad.length, RATE, 60)).toBe(true);
          const outcome = knob.replace('_rate', '') as 'truncated';
          expect(stats().outcomes[outcome]).toBe(bad.length);
          if (knob === 'truncated_rate') expect(bad[0]?.finishReason).toBe('length');

          setOptions({ [knob]: 1 });
          const all = await many(40, (index) => chat(url, body(index)));
          expect(all.filter((reply) => usable(kind, reply))).toEqual([]);
        },
        { [knob]: RATE },
      ),
  );

  it('prose_rate hides good JSON in prose that can be read', () =>
    rehearsing(
      async ({ url, stats }) => {
        const replies = await many(40, (index) => chat(url, body(index)));
        expect(replies.filter((reply) => !usable(kind, reply)).map((reply) => reply.content)).toEqual([]);
        expect(replies.every((reply) => !reply.content.startsWith('{'))).toBe(true);
        expect(replies.some((reply) => reply.content.startsWith('<think>'))).toBe(true);
        expect(replies.some((reply) => reply.content.startsWith('```'))).toBe(true);
        expect(stats().outcomes).toEqual({ prose: 40 });
      },
      { prose_rate: 1 },
    ));
});

describe('content faults', () => {
  it('are the same for the same request and drawn anew for a repair', () =>
    rehearsing(
      async ({ url }) => {
        const replies = await many(40, (index) => chat(url, question(index)));
        const bad = replies.findIndex((reply) => !usable(questionOutput, reply));
        const again = await chat(url, question(bad));
        expect(again.content).toBe(replies[bad]?.content);
        const repairs = await many(10, (index) =>
          chat(url, {
            messages: [
              ...question(bad).messages,
              { role: 'user', content: `Try ${index}: answer with JSON.` },
            ],
          }),
        );
        expect(repairs.some((reply) => usable(questionOutput, reply))).toBe(true);
      },
      { malformed_rate: 0.5 },
    ));

  it('break the arguments of tool calls too', async () => {
    const calls = async (options: RehearsalOptionsInput) => {
      let reply: ChatReply | null = null;
      await rehearsing(async ({ url }) => {
        reply = await chat(url, { ...ROLE_CASES[1]?.body(1), tools: TOOLS });
      }, options);
      return reply as ChatReply | null;
    };
    const args = (reply: ChatReply | null): string => reply?.toolCalls[0]?.function.arguments ?? '';
    expect(JSON.parse(args(await calls({})))).toMatchObject({ query: expect.any(String) });
    const broken = args(await calls({ malformed_rate: 1 }));
    expect(() => JSON.parse(broken) as unknown).toThrow();
    expect(JSON.parse(args(await calls({ wrong_type_rate: 1 })))).toMatchObject({ query: 42 });
    expect(await calls({ truncated_rate: 1 })).toMatchObject({ finishReason: 'length' });
    expect(await calls({ empty_rate: 1 })).toMatchObject({ toolCalls: [], content: '' });
    expect(await calls({ prose_rate: 1 })).toMatchObject({
      finishReason: 'tool_calls',
      content: expect.stringMatching(/\w/u),
    });
  });

  it('duplicate_rate asks from a small pool that conversations and languages share', () =>
    rehearsing(
      async ({ url, stats }) => {
        const asked = await many(120, async (index) => {
          const targetLanguage = index % 2 === 0 ? 'English' : 'Arabic';
          const reply = await chat(url, {
            messages: questionMessages({ userPersona: `Persona ${index}`, targetLanguage }),
            response_format: QUESTION_FORMAT,
          });
          const result = parseOutput(questionOutput.schema, reply.content);
          return { targetLanguage, message: result.ok ? result.value.user_message : '' };
        });
        const of = (language: string) =>
          new Set(asked.filter((item) => item.targetLanguage === language).map((item) => item.message));
        expect(stats().outcomes).toEqual({ duplicate: 120 });
        expect(of('English').size).toBeLessThanOrEqual(8);
        expect([...of('English')].filter((message) => of('Arabic').has(message)).length).toBeGreaterThan(0);
      },
      { duplicate_rate: 1 },
    ));

  it('duplicates are drawn anew when the rejected questions are listed', () =>
    rehearsing(
      async ({ url, stats }) => {
        await many(CALLS, (index) =>
          chat(url, {
            messages: questionMessages({ rejectedQuestions: [`Was number ${index} asked before?`] }),
          }),
        );
        expect(near(stats().outcomes.duplicate ?? 0, 0.3)).toBe(true);
      },
      { duplicate_rate: 0.3 },
    ));
});
