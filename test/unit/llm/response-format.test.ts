import { describe, expect, test } from 'vitest';
import { apiError, completion, sendJson, type Answer } from '../../support/chat-server.ts';
import {
  endpointAt,
  never,
  portFor,
  rememberedFormats,
  request,
  roleSettings,
  searchTool,
  serverFor,
} from './fixtures.ts';

/** A server that has these formats, and refuses others as OpenAI does. */
const having =
  (...formats: readonly string[]): Answer =>
  ({ body }, response) => {
    const format = formatOf(body);
    if (format === 'text' || formats.includes(format)) return sendJson(response, 200, completion());
    return sendJson(
      response,
      400,
      apiError(`'response_format' of type '${format}' is not supported with this model.`, {
        param: 'response_format',
      }),
    );
  };

const formatOf = (body: Readonly<Record<string, unknown>>): string =>
  (body['response_format'] as { readonly type: string } | undefined)?.type ?? 'text';

describe('structured output', () => {
  test('D11 16 concurrent first calls learn once what the server has', async () => {
    const server = await serverFor(having());
    const capabilities = rememberedFormats();
    const port = portFor([endpointAt(server.url)], { capabilities });
    const outcomes = await Promise.all(
      Array.from({ length: 16 }, () => port.attempt('one', request(), never)),
    );
    expect(outcomes.every(({ type }) => type === 'answered')).toBe(true);
    const asked = server.requests.map(({ body }) => formatOf(body));
    expect(asked.filter((format) => format !== 'text')).toEqual(['json_schema', 'json_object']);
    expect(asked).toHaveLength(18);
    expect([...capabilities.known]).toEqual([[`${server.url} m1`, 'text']]);
  });

  test('what was learned is remembered over processes', async () => {
    const server = await serverFor(having('json_object'));
    const capabilities = rememberedFormats();
    await portFor([endpointAt(server.url)], { capabilities }).attempt('one', request(), never);
    await portFor([endpointAt(server.url)], { capabilities }).attempt('one', request(), never);
    expect(server.requests.map(({ body }) => formatOf(body))).toEqual([
      'json_schema',
      'json_object',
      'json_object',
    ]);
  });

  test('E12 it is learned for each model of an endpoint alone', async () => {
    const server = await serverFor((seen, response) =>
      having(...(seen.body['model'] === 'm2' ? ['json_schema'] : []))(seen, response),
    );
    const port = portFor([endpointAt(server.url)], { roles: { judge: roleSettings({ model: 'm2' }) } });
    await port.attempt('one', request('user'), never);
    await port.attempt('one', request('judge'), never);
    expect(server.requests.map(({ body }) => [body['model'], formatOf(body)])).toEqual([
      ['m1', 'json_schema'],
      ['m1', 'json_object'],
      ['m1', 'text'],
      ['m2', 'json_schema'],
    ]);
  });

  test.each([
    [
      'the word json missing in the prompt',
      apiError(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        { param: 'messages' },
      ),
    ],
    [
      'the same without a parameter',
      apiError(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
      ),
    ],
    [
      'another parameter',
      apiError('json_schema is unsupported here, says the tools check', { param: 'tools' }),
    ],
    ['a word that only looks like it', apiError('The document json_schema.md is too large')],
  ])('E13 an error about something else teaches nothing: %s', async (_name, body) => {
    const server = await serverFor((_, response) => sendJson(response, 400, body));
    const capabilities = rememberedFormats();
    const outcome = await portFor([endpointAt(server.url)], { capabilities }).attempt(
      'one',
      request(),
      never,
    );
    expect(outcome).toMatchObject({ type: 'refused', status: 400 });
    expect(server.requests).toHaveLength(1);
    expect(capabilities.known.size).toBe(0);
  });

  test.each([
    ['LM Studio', 400, { error: "'response_format.type' must be 'json_schema' or 'text'" }],
    [
      'FastAPI',
      422,
      {
        detail: [
          { loc: ['body', 'response_format', 'type'], msg: 'Input should be text', type: 'literal_error' },
        ],
      },
    ],
    ['DeepSeek', 400, apiError('This response_format type is unavailable now')],
    ['a code', 400, apiError('No.', { code: 'invalid_json_schema' })],
  ])('the refusal of %s is understood', async (_name, status, body) => {
    const server = await serverFor(({ body: sent }, response) =>
      formatOf(sent) === 'text' ? sendJson(response, 200, completion()) : sendJson(response, status, body),
    );
    expect(await portFor([endpointAt(server.url)]).attempt('one', request(), never)).toMatchObject({
      type: 'answered',
    });
  });

  test('tools and a format travel together, unless the server says that they cannot', async () => {
    const server = await serverFor(({ body }, response) =>
      body['tools'] !== undefined && formatOf(body) !== 'text'
        ? sendJson(response, 400, apiError('json mode cannot be combined with tool/function calling'))
        : sendJson(response, 200, completion()),
    );
    const port = portFor([endpointAt(server.url)]);
    const withTools = request('assistant', { tools: [searchTool] });
    for (const next of [request(), withTools, withTools, request()]) await port.attempt('one', next, never);
    expect(server.requests.map(({ body }) => [body['tools'] !== undefined, formatOf(body)])).toEqual([
      [false, 'json_schema'],
      [true, 'json_schema'],
      [true, 'text'],
      [true, 'text'],
      [false, 'json_schema'],
    ]);
  });

  test('a server that decodes under a grammar gets no format beside tools: it would never call them', async () => {
    const server = await serverFor(having('json_schema'));
    const port = portFor([endpointAt(server.url, { provider: 'hosted_vllm' })]);
    await port.attempt('one', request('assistant', { tools: [searchTool] }), never);
    await port.attempt('one', request('assistant'), never);
    expect(server.requests.map(({ body }) => formatOf(body))).toEqual(['text', 'json_schema']);
  });

  test('while the first call fails for another reason, the others learn', async () => {
    const server = await serverFor((seen, response) =>
      seen.number === 0 ? sendJson(response, 500, apiError('oops')) : having('json_schema')(seen, response),
    );
    const port = portFor([endpointAt(server.url)]);
    const outcomes = await Promise.all(
      Array.from({ length: 4 }, () => port.attempt('one', request(), never)),
    );
    expect(outcomes.map(({ type }) => type).toSorted()).toEqual([
      'answered',
      'answered',
      'answered',
      'retry_later',
    ]);
  });
});
