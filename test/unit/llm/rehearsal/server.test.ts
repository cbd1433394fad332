import { describe, expect, it } from 'vitest';
import { parseRehearsalOptions } from '../../../../src/llm/rehearsal/options.ts';
import { startRehearsal } from '../../../../src/llm/rehearsal/server.ts';
import { call, chat, QUESTION_FORMAT, questionMessages, rehearsing } from './rehearsed-calls.ts';

const HELLO = { messages: [{ role: 'user', content: 'Hello there, how are you?' }] };

describe('requests that are off', () => {
  it.each([
    ['no model', { messages: HELLO.messages }, 'model'],
    ['no messages', { model: 'm', messages: [] }, 'messages'],
    ['an unknown role', { model: 'm', messages: [{ role: 'narrator', content: 'x' }] }, 'messages.[0].role'],
    ['no content', { model: 'm', messages: [{ role: 'user' }] }, 'messages.[0].content'],
    [
      'a result without its call',
      { model: 'm', messages: [...HELLO.messages, { role: 'tool', tool_call_id: 'c1', content: 'x' }] },
      'messages.[1].tool_call_id',
    ],
    [
      'a call without its result',
      {
        model: 'm',
        messages: [
          {
            role: 'assistant',
            content: null,
            tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }],
          },
          ...HELLO.messages,
        ],
      },
      'messages.[1].role',
    ],
    [
      'a schema without a name',
      { model: 'm', ...HELLO, response_format: { type: 'json_schema', json_schema: { schema: {} } } },
      'response_format.json_schema',
    ],
    ['two choices', { model: 'm', ...HELLO, n: 2 }, 'n'],
    ['a token limit of 0', { model: 'm', ...HELLO, max_tokens: 0 }, 'max_tokens'],
  ])('with %s get an error that names the place', (_name, body, param) =>
    rehearsing(async ({ url }) => {
      const { status, body: answer } = await call(url, '/v1/chat/completions', body);
      expect(status).toBe(400);
      expect(answer).toMatchObject({
        error: { type: 'invalid_request_error', param, message: expect.any(String) },
      });
    }),
  );

  it('are refused when they are no JSON, too long, or to nowhere', () =>
    rehearsing(
      async ({ url }) => {
        expect(await call(url, '/v1/chat/completions', '{"model":')).toMatchObject({ status: 400 });
        expect(await call(url, '/v1/chat/completions', 'x'.repeat(5000))).toMatchObject({
          status: 413,
          body: { error: { code: 'request_too_large' } },
        });
        expect(await call(url, '/v1/completions', {})).toMatchObject({ status: 404, body: { error: {} } });
        expect(await call(url, '/rehearsal/unknown')).toMatchObject({ status: 404 });
      },
      { max_body_bytes: 4096 },
    ));

  it('are refused for a response format that the server does not have, as real servers do', () =>
    rehearsing(
      async ({ url, stats }) => {
        const refused = await chat(url, { messages: questionMessages(), response_format: QUESTION_FORMAT });
        expect(refused.status).toBe(400);
        expect(refused.body).toMatchObject({
          error: { param: 'response_format', message: expect.stringContaining('json_schema') },
        });
        const accepted = await chat(url, {
          messages: questionMessages(),
          response_format: { type: 'json_object' },
        });
        expect(accepted.status).toBe(200);
        expect(stats().outcomes).toEqual({ refused: 1, answered: 1 });
      },
      { unsupported_response_formats: ['json_schema'] },
    ));

  it('are refused when they exceed the context', () =>
    rehearsing(
      async ({ url }) => {
        expect((await chat(url, HELLO)).status).toBe(200);
        const long = await chat(url, { messages: [{ role: 'user', content: 'word '.repeat(500) }] });
        expect(long).toMatchObject({ status: 400, body: { error: { code: 'context_length_exceeded' } } });
      },
      { context_limit_tokens: 100 },
    ));
});

describe('answers', () => {
  it('end at the token limit of the request', () =>
    rehearsing(async ({ url }) => {
      const reply = await chat(url, { messages: questionMessages(), max_tokens: 5 });
      expect(reply).toMatchObject({ finishReason: 'length', body: { usage: { completion_tokens: 5 } } });
      expect(reply.content).toHaveLength(20);
    }));

  it('carry their key, also when they are errors', () =>
    rehearsing(
      async ({ url }) => {
        const refused = await chat(url, HELLO);
        expect(refused.status).toBe(500 + (refused.status % 100));
        expect(refused.headers['x-rehearsal-key']).toMatch(/^[0-9a-f]{32}$/u);
      },
      { server_error_rate: 1 },
    ));
});

describe('control routes', () => {
  it('change knobs while the server runs, and refuse what is off without changing anything', () =>
    rehearsing(async ({ url }) => {
      expect(
        await call(url, '/rehearsal/options', { rate_limit_rate: 1, latency: { seed: 4 } }),
      ).toMatchObject({
        status: 200,
        body: { rate_limit_rate: 1, latency: { seed: 4, sigma: 0.8 } },
      });
      expect((await chat(url, HELLO)).status).toBe(429);
      const refused = await call(url, '/rehearsal/options', { rate_limit_rate: 0, stall_rate: 7 });
      expect(refused).toMatchObject({ status: 400 });
      expect(JSON.stringify(refused.body)).toContain('stall_rate');
      expect((await chat(url, HELLO)).status).toBe(429);
      await call(url, '/rehearsal/options', { rate_limit_rate: 0 });
      expect((await chat(url, HELLO)).status).toBe(200);
    }));

  it('tell what happened, and forget it on demand', () =>
    rehearsing(async ({ url }) => {
      const reply = await chat(url, { messages: questionMessages() });
      await chat(url, { messages: questionMessages() });
      const key = reply.headers['x-rehearsal-key'];
      expect((await call(url, '/rehearsal/stats')).body).toMatchObject({
        in_flight: 0,
        max_in_flight: 1,
        requests: 2,
        answered: 2,
        outcomes: { answered: 2 },
        roles: { user: 2 },
        per_key: { [String(key)]: { arrivals: 2, answered: 2 } },
      });
      expect((await call(url, '/rehearsal/stats?keys=0')).body).not.toHaveProperty('per_key');
      expect((await call(url, '/rehearsal/log?after=1')).body).toMatchObject([
        { event: 'arrival', seq: 2, key, role: 'user', arrival: 2, in_flight: 1 },
        { event: 'completion', seq: 2, key, outcome: 'answered', status: 200, in_flight: 0 },
      ]);
      await call(url, '/rehearsal/reset', {});
      expect((await call(url, '/rehearsal/stats')).body).toMatchObject({ requests: 0, per_key: {} });
      expect((await call(url, '/rehearsal/log')).body).toEqual([]);
    }));

  it('never show the API key', () =>
    rehearsing(
      async ({ url }) => {
        const { body } = await call(url, '/rehearsal/options');
        expect(JSON.stringify(body)).not.toContain('hush-hush');
        expect(body).toMatchObject({ api_key: '***' });
      },
      { api_key: 'hush-hush' },
    ));

  it('answer health checks and metrics', () =>
    rehearsing(async ({ url }) => {
      expect(await call(url, '/health')).toMatchObject({ status: 200 });
      await chat(url, HELLO);
      const { body } = await call(url, '/metrics');
      expect(body).toMatch(/^vllm:num_requests_running 0$/mu);
      expect(body).toMatch(/^vllm:generation_tokens_total [1-9]\d*$/mu);
    }));
});

describe('rerank', () => {
  it('puts the document that answers first', () =>
    rehearsing(async ({ url }) => {
      const { body } = await call(url, '/v1/rerank', {
        model: 'm',
        query: 'moisture in the hive',
        documents: [
          'Queens live for years.',
          { text: 'Moisture in a hive harms bees.' },
          'A hive is made of wood.',
        ],
        top_n: 2,
      });
      expect(body).toMatchObject({ results: [{ index: 1 }, { index: 2 }] });
    }));
});

describe('options', () => {
  it('name every knob that is off', () => {
    expect(() => parseRehearsalOptions({ seed: 'x', prose_rate: 2, unknown_knob: 1 })).toThrow(
      /seed.*prose_rate.*unknown_knob/su,
    );
    expect(() => parseRehearsalOptions({ reset_rate: 0.6, stall_rate: 0.6 })).toThrow(/exclude each other/u);
  });

  it('name a port that is taken', () =>
    rehearsing(async ({ port }) => {
      await expect(startRehearsal({ port })).rejects.toMatchObject({ code: 'endpoint' });
    }));
});
