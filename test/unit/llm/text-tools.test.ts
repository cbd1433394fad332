import { describe, expect, onTestFinished, test } from 'vitest';
import type { ChatMessage, ModelRequest } from '../../../src/dialogue/chat.ts';
import { startRehearsal } from '../../../src/llm/rehearsal/server.ts';
import { requestBody } from '../../../src/llm/request-body.ts';
import { callsInText, refusesTools, withTextTools } from '../../../src/llm/text-tools.ts';
import { sha256 } from '../../../src/kernel/hash.ts';
import type { AttemptOutcome } from '../../../src/ports/model.ts';
import { apiError, completion, sendJson } from '../../support/chat-server.ts';
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

const VLLM = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set';
const withTools = (changes: Partial<ModelRequest> = {}): ModelRequest =>
  request('assistant', { tools: [searchTool], ...changes });
const rounds: readonly ChatMessage[] = [
  { role: 'system', content: 'Answer in JSON.' },
  { role: 'user', content: 'When?' },
  {
    role: 'assistant',
    content: '',
    toolCalls: [
      { id: 'a', name: 'search', arguments: '{"query":"when"}' },
      { id: 'b', name: 'search', arguments: 'no json' },
    ],
  },
  { role: 'tool', toolCallId: 'a', name: 'search', content: '{"results":[]}' },
  { role: 'tool', toolCallId: 'b', name: 'search', content: '{"error":"x"}' },
];

describe('a server that takes no tools', () => {
  /** Refuses tools as vLLM does without a parser; else answers with `answers` in turn. */
  const vllm = (...answers: readonly string[]) => {
    let given = 0;
    return serverFor(({ body }, response) => {
      if (body['tools'] !== undefined)
        return sendJson(response, 400, apiError(VLLM, { param: 'tool_choice' }));
      given += 1;
      return sendJson(response, 200, completion({ content: answers[given - 1] ?? '{"ok":true}' }));
    });
  };

  test('gets them in the messages; a call in the answer is a call; that is learned once, and remembered', async () => {
    const server = await vllm('Let me see. {"tool_calls":[{"name":"search","arguments":{"query":"x"}}]}');
    const capabilities = rememberedFormats();
    const port = portFor([endpointAt(server.url)], { capabilities });
    const first = await port.attempt('one', withTools(), never);
    expect(answerOf(first)).toMatchObject({
      content: '',
      toolCalls: [{ id: 'call_0', name: 'search', arguments: '{"query":"x"}' }],
      finishReason: 'tool_calls',
      sent: { tools: 'in_messages' },
    });
    const second = await port.attempt('one', withTools({ messages: rounds }), never);
    expect(answerOf(second)).toMatchObject({ content: '{"ok":true}', toolCalls: [] });
    // The last round offers no tools, and shows what the earlier ones said.
    await port.attempt('one', withTools({ messages: rounds, tools: [] }), never);
    const bodies = server.requests.map(({ body }) => body);
    expect(bodies.map((body) => body['tools'] !== undefined)).toEqual([true, false, false, false]);
    expect(JSON.stringify(bodies.slice(1))).not.toContain('tool_call_id');
    expect(capabilities.known.get(`tools of ${server.url} m1`)).toBe('text');

    const later = portFor([endpointAt(server.url)], { capabilities });
    await later.attempt('one', withTools(), never);
    expect(server.requests).toHaveLength(5);
    expect(server.requests.at(-1)?.body['tools']).toBeUndefined();
  });

  test('calls that come before it is known are refused a few times and answered all', async () => {
    const server = await vllm();
    const port = portFor([endpointAt(server.url)]);
    const outcomes = await Promise.all(
      Array.from({ length: 16 }, () => port.attempt('one', withTools(), never)),
    );
    expect(outcomes.map(({ type }) => type)).toEqual(Array.from({ length: 16 }, () => 'answered'));
    const refused = server.requests.filter(({ body }) => body['tools'] !== undefined);
    expect(refused.length).toBeLessThanOrEqual(2);
  });

  test('what was sent can be told from the request and its form', async () => {
    const server = await vllm();
    const outcome = await portFor([endpointAt(server.url)]).attempt('one', withTools(), never);
    const { sent, model } = answerOf(outcome);
    const { format, maxTokensField } = sent ?? { format: 'text', maxTokensField: 'max_tokens' };
    const body = requestBody(withTextTools(withTools()), roleSettings(), { model, format, maxTokensField });
    expect(sha256(JSON.stringify(body))).toBe(sent?.bodyHash);
  });

  test('a request without tools is sent as it is', async () => {
    const server = await vllm();
    await portFor([endpointAt(server.url)]).attempt('one', request(), never);
    expect(server.requests).toHaveLength(1);
    expect(JSON.stringify(server.requests[0]?.body)).not.toContain('Tools that you may use');
  });
});

test('an error about these tools is not taken for one about all tools', async () => {
  const server = await serverFor((_seen, response) =>
    sendJson(response, 400, apiError("Invalid 'tools[0].function.name'", { param: 'tools[0]' })),
  );
  const outcome = await portFor([endpointAt(server.url)]).attempt('one', withTools(), never);
  expect(outcome.type).toBe('refused');
  expect(server.requests).toHaveLength(1);
});

test.each([
  [VLLM, true],
  ['registry.ollama.ai/library/gemma2:latest does not support tools', true],
  ['No endpoints found that support tool use.', true],
  ['Function calling is not supported by this model', true],
  ['`tools` must have at most 128 items', false],
  ['The model does not exist', false],
])('%s', (message, refused) => {
  expect(refusesTools({ message, code: '', param: '' } as Parameters<typeof refusesTools>[0], 400)).toBe(
    refused,
  );
});

describe('a request with its tools in the messages', () => {
  test('names them in the system message, allows a call or the answer, and takes turns', () => {
    const written = withTextTools(withTools({ messages: rounds }));
    expect(written.tools).toEqual([]);
    expect(written.messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user']);
    expect(written.messages[0]?.content).toContain(
      '{"name":"search","description":"Searches.","parameters":{"type":"object","properties":{}}}',
    );
    expect(written.messages[2]?.content).toBe(
      '{"tool_calls":[{"name":"search","arguments":{"query":"when"}},{"name":"search","arguments":"no json"}]}',
    );
    expect(written.messages[3]?.content).toBe(
      'Result of search:\n{"results":[]}\n\nResult of search:\n{"error":"x"}',
    );
    expect(written.output.schema).toMatchObject({
      anyOf: [{ required: ['tool_calls'] }, request().output.schema],
    });
  });

  test('only an answer of that form is a call', () => {
    expect(callsInText('{"assistant_message":"the word \\"tool_calls\\"","x":1}')).toEqual([]);
    expect(callsInText('{"tool_calls":[]}')).toEqual([]);
    expect(callsInText('{"tool_calls":[{"name":"search"}]}')).toEqual([
      { id: 'call_0', name: 'search', arguments: '{}' },
    ]);
  });
});

test('the rehearsal plays such a server: it searches, and answers from what it was shown', async () => {
  const rehearsal = await startRehearsal({ seed: 3, unsupported_tools: true, latency: { mean_ms: 0 } });
  onTestFinished(() => rehearsal.close());
  const port = portFor([endpointAt(`${rehearsal.url}/v1`)], { roles: { model: 'rehearsal' } } as never);
  const search = { ...searchTool, name: 'vector_db_search' };
  const messages: readonly ChatMessage[] = [
    { role: 'system', content: 'You are the assistant. Answer in JSON.' },
    { role: 'user', content: 'Question: "When does the market open?"\nuser_message' },
  ];
  const first = answerOf(
    await port.attempt('one', request('assistant', { messages, tools: [search] }), never),
  );
  expect(first.toolCalls[0]).toMatchObject({ name: 'vector_db_search' });
  expect(rehearsal.log().filter(({ event }) => event === 'completion')).toMatchObject([
    { outcome: 'refused', status: 400 },
    { outcome: 'answered', status: 200 },
  ]);
});

function answerOf(outcome: AttemptOutcome): Extract<AttemptOutcome, { type: 'answered' }>['answer'] {
  if (outcome.type !== 'answered') throw new Error(`not answered: ${JSON.stringify(outcome)}`);
  return outcome.answer;
}
