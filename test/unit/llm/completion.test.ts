import { describe, expect, test } from 'vitest';
import { readCompletion } from '../../../src/llm/completion.ts';

const withMessage = (message: unknown, more: Record<string, unknown> = {}): unknown => ({
  choices: [{ message, ...more }],
});
const call = (args: unknown, id: unknown = 'x'): unknown => ({
  id,
  type: 'function',
  function: { name: 'search', arguments: args },
});

describe('content is read as', () => {
  test.each([
    ['null', null, ''],
    ['missing', undefined, ''],
    ['a text', 'hi', 'hi'],
    ['a list of parts', [{ type: 'text', text: 'a' }, { content: 'b' }, 'c', { type: 'image' }], 'abc'],
    ['a mapping with a text', { text: 't' }, 't'],
    ['any other mapping', { a: 1 }, '{"a":1}'],
  ])('%s', (_name, content, expected) => {
    expect(readCompletion(withMessage({ content }))).toMatchObject({ type: 'completion', content: expected });
  });
});

describe('tool calls are read from', () => {
  test.each([
    ['a list', [call('{"q":1}')], [{ id: 'x', name: 'search', arguments: '{"q":1}' }]],
    ['one alone', call('{}'), [{ id: 'x', name: 'search', arguments: '{}' }]],
    ['arguments as a mapping', [call({ q: 1 })], [{ id: 'x', name: 'search', arguments: '{"q":1}' }]],
    ['arguments that are null', [call(null)], [{ id: 'x', name: 'search', arguments: '{}' }]],
    [
      'no ids',
      [call('{}', null), call('{}', '')],
      [
        { id: 'call_0', name: 'search', arguments: '{}' },
        { id: 'call_1', name: 'search', arguments: '{}' },
      ],
    ],
    ['null', null, []],
  ])('%s', (_name, toolCalls, expected) => {
    expect(readCompletion(withMessage({ content: null, tool_calls: toolCalls }))).toMatchObject({
      type: 'completion',
      toolCalls: expected,
    });
  });
});

describe('usage is read from the names of', () => {
  test.each([
    [
      'OpenAI',
      { prompt_tokens: 9, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } },
      [9, 4, 2],
    ],
    ['DeepSeek', { prompt_tokens: 9, completion_tokens: 2, prompt_cache_hit_tokens: 5 }, [9, 5, 2]],
    ['Anthropic', { input_tokens: 9, output_tokens: 2, cache_read_input_tokens: 3 }, [9, 3, 2]],
    ['nobody', undefined, [0, 0, 0]],
    ['a server that is wrong about it', { prompt_tokens: 'many', completion_tokens: -1 }, [0, 0, 0]],
  ])('%s', (_name, usage, [promptTokens, cachedTokens, completionTokens]) => {
    const body = { ...(withMessage({ content: 'a' }) as object), usage };
    expect(readCompletion(body)).toMatchObject({ usage: { promptTokens, cachedTokens, completionTokens } });
  });
});
