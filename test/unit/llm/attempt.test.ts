import { describe, expect, test } from 'vitest';
import type { LogLevel } from '../../../src/kernel/logger.ts';
import { apiError, completion, sendJson } from '../../support/chat-server.ts';
import {
  attemptAt,
  endpointAt,
  never,
  portFor,
  request,
  roleSettings,
  searchTool,
  serverFor,
} from './fixtures.ts';

describe('an answer', () => {
  test('carries content, tool calls, usage with cached tokens, latency and the body once', async () => {
    const body = completion('hi', { system_fingerprint: 'rehearsal' });
    const outcome = await attemptAt((_, response) => sendJson(response, 200, body));
    expect(outcome).toMatchObject({
      type: 'answered',
      answer: {
        content: 'hi',
        toolCalls: [],
        finishReason: 'stop',
        usage: { promptTokens: 10, cachedTokens: 8, completionTokens: 4 },
        endpoint: 'one',
        model: 'm1',
        rehearsal: true,
        raw: body,
      },
    });
  });

  test('cut off by the token limit is still an answer, and says so', async () => {
    const body = completion('{"a', { choices: [{ finish_reason: 'length', message: { content: '{"a' } }] });
    expect(await attemptAt((_, response) => sendJson(response, 200, body))).toMatchObject({
      type: 'answered',
      answer: { finishReason: 'length' },
    });
  });

  test.each([
    [
      'refusal',
      { finish_reason: 'stop', message: { content: null, refusal: 'I cannot help with that.' } },
      /refused: I cannot/,
    ],
    ['content filter', { finish_reason: 'content_filter', message: { content: '' } }, /content filter/],
  ])('that is a %s refuses the request', async (_name, choice, reason) => {
    const outcome = await attemptAt((_, response) =>
      sendJson(response, 200, completion('', { choices: [choice] })),
    );
    expect(outcome).toMatchObject({ type: 'refused', reason: expect.stringMatching(reason) });
  });
});

test('a body without end is cut off, and counts as trouble of the connection', async () => {
  let sentMb = 0;
  const piece = Buffer.alloc(1024 * 1024, ' ');
  const outcome = await attemptAt((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const more = (): void => {
      while (!response.destroyed && sentMb < 200) {
        sentMb += 1;
        if (!response.write(piece)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  expect(outcome).toMatchObject({ type: 'retry_later', cause: 'connection' });
  expect(sentMb).toBeLessThan(100);
});

describe('what may succeed later', () => {
  test.each([
    [
      '429 with seconds',
      429,
      { 'retry-after': '2' },
      { rateLimited: true, retryAfterMs: 2000, cause: 'rate_limit' },
    ],
    [
      '429 with more than a minute',
      429,
      { 'retry-after': '75' },
      { rateLimited: true, retryAfterMs: 75_000 },
    ],
    [
      '429 with milliseconds',
      429,
      { 'retry-after-ms': '150', 'retry-after': '9' },
      { rateLimited: true, retryAfterMs: 150 },
    ],
    ['429 without a word', 429, {}, { rateLimited: true, retryAfterMs: null }],
    ['500', 500, {}, { rateLimited: false, retryAfterMs: null, cause: 'server' }],
    ['503 with Retry-After', 503, { 'retry-after': '1' }, { rateLimited: true, retryAfterMs: 1000 }],
    ['408', 408, {}, { rateLimited: false }],
    ['409', 409, {}, { rateLimited: false }],
    ['425', 425, {}, { rateLimited: false }],
  ])('%s', async (_name, status, headers, expected) => {
    const outcome = await attemptAt((_, response) => sendJson(response, status, apiError('busy'), headers));
    expect(outcome).toMatchObject({
      type: 'retry_later',
      status,
      reason: `HTTP ${status}: busy`,
      ...expected,
    });
  });

  test('a Retry-After date', async () => {
    const inTenSeconds = new Date(Date.now() + 10_000).toUTCString();
    const outcome = await attemptAt((_, response) =>
      sendJson(response, 429, apiError('busy'), { 'retry-after': inTenSeconds }),
    );
    expect(outcome).toMatchObject({ rateLimited: true, retryAfterMs: expect.closeTo(9_500, -3.1) });
  });

  test("Gemini's list-shaped error with its retry delay", async () => {
    const body = [
      {
        error: {
          code: 429,
          message: 'Quota.',
          status: 'RESOURCE_EXHAUSTED',
          details: [{ '@type': 'x', retryDelay: '34.5s' }],
        },
      },
    ];
    const outcome = await attemptAt((_, response) => sendJson(response, 429, body));
    expect(outcome).toMatchObject({ type: 'retry_later', retryAfterMs: 34_500, reason: 'HTTP 429: Quota.' });
  });

  test('a connection that is reset', async () => {
    const outcome = await attemptAt((_, response) => void response.socket?.resetAndDestroy());
    expect(outcome).toMatchObject({
      type: 'retry_later',
      status: null,
      cause: 'connection',
      rateLimited: false,
    });
  });

  test('nobody listening', async () => {
    const server = await serverFor(() => undefined);
    await server.close();
    const outcome = await portFor([endpointAt(server.url)]).attempt('one', request(), never);
    expect(outcome).toMatchObject({
      type: 'retry_later',
      cause: 'connection',
      reason: expect.stringContaining('ECONNREFUSED'),
    });
  });

  test('E9 a stall is given up after the time-out, before and after the headers', async () => {
    const silent = await attemptAt(() => undefined, { timeoutMs: 60 });
    expect(silent).toMatchObject({
      type: 'retry_later',
      cause: 'timeout',
      reason: 'no answer within 0.06 s',
    });
    const halfway = await attemptAt(
      (_, response) => void response.writeHead(200).write('{"choices":['),
      {},
      { timeoutMs: 60 },
    );
    expect(halfway).toMatchObject({ type: 'retry_later', cause: 'timeout' });
  });

  test('a body that is cut off in the middle', async () => {
    const outcome = await attemptAt((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '500' });
      response.write('{"choices":', () => response.destroy());
    });
    expect(outcome).toMatchObject({ type: 'retry_later', cause: 'connection' });
  });

  test.each([
    ['plain text', 'text/plain', 'hello', /no JSON \(text\/plain\)/],
    ['broken JSON', 'application/json', '{"choices":[', /no JSON/],
    ['JSON that is no completion', 'application/json', '{"hello":1}', /no chat completion \(choices/],
    ['no choices', 'application/json', '{"choices":[]}', /no chat completion/],
  ])('a 200 with %s', async (_name, type, text, reason) => {
    const outcome = await attemptAt(
      (_, response) => void response.writeHead(200, { 'content-type': type }).end(text),
    );
    expect(outcome).toMatchObject({
      type: 'retry_later',
      status: 200,
      cause: 'unreadable',
      reason: expect.stringMatching(reason),
    });
  });

  test("a gateway's error inside a 200", async () => {
    const outcome = await attemptAt((_, response) =>
      sendJson(response, 200, { error: { code: 502, message: 'upstream died' } }),
    );
    expect(outcome).toMatchObject({ type: 'retry_later', status: 502, reason: 'HTTP 502: upstream died' });
  });

  test('a generation that failed at its format', async () => {
    const outcome = await attemptAt((_, response) =>
      sendJson(response, 400, apiError('Failed to generate JSON.', { code: 'json_validate_failed' })),
    );
    expect(outcome).toMatchObject({ type: 'retry_later', cause: 'unreadable' });
  });
});

describe('what no waiting will change', () => {
  test.each([
    [
      401,
      apiError('Incorrect API key provided: sk-secret-1234.', { code: 'invalid_api_key' }),
      /key is missing or wrong/,
    ],
    [
      400,
      [{ error: { code: 400, message: 'API key not valid.', details: [{ reason: 'API_KEY_INVALID' }] } }],
      /key is missing or wrong/,
    ],
    [402, apiError('Insufficient Balance'), /needs credit/],
    [403, apiError('no access'), /may not use/],
    [404, apiError('The model `m1` does not exist', { code: 'model_not_found' }), /check the model id/],
    [429, apiError('You exceeded your current quota', { code: 'insufficient_quota' }), /add credit/],
    [
      400,
      apiError("Unsupported value: 'temperature'", { code: 'unsupported_value', param: 'temperature' }),
      /does not take temperature/,
    ],
  ])('%i makes the endpoint unusable, without its key in the reason', async (status, body, reason) => {
    const outcome = await attemptAt(
      (_, response) => sendJson(response, status, body),
      {},
      { key: () => 'sk-secret-1234' },
    );
    expect(outcome).toMatchObject({ type: 'unusable', status, reason: expect.stringMatching(reason) });
    expect(JSON.stringify(outcome)).not.toContain('sk-secret-1234');
  });

  test.each([
    [
      400,
      apiError('This model’s maximum context length is 8192 tokens.', { code: 'context_length_exceeded' }),
      /too long/,
    ],
    [413, apiError('too large'), /HTTP 413/],
    [422, { detail: [{ loc: ['body', 'messages'], msg: 'bad', type: 'value_error' }] }, /HTTP 422: bad/],
    [403, apiError('moderated', { metadata: { reasons: ['violence'] } }), /moderated/],
  ])('%i refuses this request only', async (status, body, reason) => {
    const outcome = await attemptAt((_, response) => sendJson(response, status, body));
    expect(outcome).toMatchObject({ type: 'refused', status, reason: expect.stringMatching(reason) });
  });
});

describe('a request', () => {
  test('carries the settings of its role, and extra fields that replace none of them', async () => {
    const server = await serverFor((_, response) => sendJson(response, 200, completion()));
    const settings = roleSettings({
      temperature: 0.2,
      maxTokens: 99,
      extra: {
        temperature: 2,
        model: 'other',
        messages: [],
        max_tokens: 1,
        timeout: 3,
        api_key: 'k',
        stream: true,
        seed: 7,
      },
    });
    await portFor([endpointAt(server.url)], { roles: { user: settings } }).attempt(
      'one',
      request('user', { tools: [searchTool] }),
      never,
    );
    expect(server.requests[0]?.path).toBe('/v1/chat/completions');
    const body = server.requests[0]?.body;
    expect(body).toMatchObject({
      model: 'm1',
      temperature: 0.2,
      max_tokens: 99,
      seed: 7,
      tool_choice: 'auto',
    });
    expect(body?.['messages']).toHaveLength(2);
    expect(body?.['response_format']).toMatchObject({
      type: 'json_schema',
      json_schema: { name: 'answer', strict: true },
    });
    for (const key of ['timeout', 'api_key', 'stream']) expect(body).not.toHaveProperty(key);
  });

  test('shows tool calls and their results as the interface wants them', async () => {
    const server = await serverFor((_, response) => sendJson(response, 200, completion()));
    const messages = [
      { role: 'assistant', content: '', toolCalls: [{ id: 'a', name: 'search', arguments: '{}' }] },
      { role: 'tool', toolCallId: 'a', name: 'search', content: 'found' },
    ] as const;
    await portFor([endpointAt(server.url)]).attempt('one', request('user', { messages }), never);
    expect(server.requests[0]?.body['messages']).toEqual([
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'a', type: 'function', function: { name: 'search', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: 'a', content: 'found' },
    ]);
  });

  test('learns which name the model gives its token limit', async () => {
    const server = await serverFor(({ body }, response) =>
      'max_tokens' in body
        ? sendJson(
            response,
            400,
            apiError("Use 'max_completion_tokens' instead.", {
              param: 'max_tokens',
              code: 'unsupported_parameter',
            }),
          )
        : sendJson(response, 200, completion()),
    );
    const port = portFor([endpointAt(server.url)], { roles: { user: roleSettings({ maxTokens: 5 }) } });
    for (const _ of [1, 2])
      expect(await port.attempt('one', request(), never)).toMatchObject({ type: 'answered' });
    expect(server.requests.map(({ body }) => 'max_completion_tokens' in body)).toEqual([false, true, true]);
  });

  test('is cancelled by its signal, and by nothing else throws', async () => {
    const server = await serverFor(() => undefined);
    const abort = new AbortController();
    const pending = portFor([endpointAt(server.url)]).attempt('one', request(), abort.signal);
    setTimeout(() => abort.abort(), 30);
    await expect(pending).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('sends the key of the endpoint and no variable of the process', async () => {
    const server = await serverFor((_, response) => sendJson(response, 200, completion()));
    process.env['OPENAI_ORG_ID'] = 'org-leak';
    process.env['OPENAI_CUSTOM_HEADERS'] = 'x-leak: yes';
    process.env['OPENAI_API_KEY'] = 'sk-leak';
    try {
      const port = portFor([
        endpointAt(server.url, { key: () => 'mine' }),
        endpointAt(server.url, { name: 'two' }),
      ]);
      await port.attempt('one', request(), never);
      await port.attempt('two', request(), never);
    } finally {
      for (const name of ['OPENAI_ORG_ID', 'OPENAI_CUSTOM_HEADERS', 'OPENAI_API_KEY'])
        delete process.env[name];
    }
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer mine', undefined]);
    expect(JSON.stringify(server.requests)).not.toContain('leak');
  });

  test('is logged without bodies and keys', async () => {
    const server = await serverFor((_, response) => sendJson(response, 200, completion('the answer')));
    const lines: [LogLevel, string][] = [];
    const port = portFor([endpointAt(server.url, { key: () => 'sk-secret' })], {
      logger: { log: (level, _category, text) => void lines.push([level, text]) },
    });
    await port.attempt('one', request(), never);
    expect(lines.map(([, text]) => text)).toEqual([
      '[llm] request role=user endpoint=one model=m1 messages=2 tools=0',
      expect.stringMatching(
        /^\[llm\] response role=user endpoint=one model=m1 latency_ms=\d+ prompt_tokens=10 cached_tokens=8 completion_tokens=4 finish_reason=stop$/,
      ),
    ]);
  });
});
