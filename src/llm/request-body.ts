import type { ChatMessage, ModelRequest, ToolSpec } from '../dialogue/chat.ts';
import type { ResponseFormatKind } from '../ports/model.ts';
import type { RoleSettings } from './settings.ts';

/** Fields of `extra` that steered 0.1.0's client and mean nothing to a server, or would break the call. */
const NOT_FOR_THE_SERVER: ReadonlySet<string> = new Set([
  'api_base',
  'api_key',
  'api_version',
  'base_url',
  'custom_llm_provider',
  'drop_params',
  'extra_body',
  'max_retries',
  'num_retries',
  'stream',
  'stream_options',
  'timeout',
]);

export interface BodyOptions {
  readonly model: string;
  readonly format: ResponseFormatKind;
  readonly maxTokensField: 'max_tokens' | 'max_completion_tokens';
}

/** The JSON body of a chat completion. What dlgforge sets wins over `extra`. */
export function requestBody(
  request: ModelRequest,
  settings: RoleSettings,
  options: BodyOptions,
): Record<string, unknown> {
  const body: Record<string, unknown> = extraFields(settings.extra);
  body['model'] = options.model;
  body['messages'] = request.messages.map(wireMessage);
  if (settings.temperature !== null) body['temperature'] = settings.temperature;
  if (settings.topP !== null) body['top_p'] = settings.topP;
  if (settings.maxTokens !== null) {
    delete body['max_tokens'];
    delete body['max_completion_tokens'];
    body[options.maxTokensField] = settings.maxTokens;
  }
  if (request.tools.length > 0) {
    body['tools'] = request.tools.map(wireTool);
    body['tool_choice'] = 'auto';
  }
  if (options.format === 'json_object') body['response_format'] = { type: 'json_object' };
  if (options.format === 'json_schema') {
    const { name, schema } = request.output;
    body['response_format'] = { type: 'json_schema', json_schema: { name, strict: true, schema } };
  }
  return body;
}

function extraFields(extra: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const nested = extra['extra_body'];
  const fields = nested !== null && typeof nested === 'object' ? { ...nested, ...extra } : { ...extra };
  return Object.fromEntries(Object.entries(fields).filter(([key]) => !NOT_FOR_THE_SERVER.has(key)));
}

function wireMessage(message: ChatMessage): Record<string, unknown> {
  if (message.role === 'tool')
    return { role: 'tool', tool_call_id: message.toolCallId, content: message.content };
  if (message.role !== 'assistant' || message.toolCalls === undefined || message.toolCalls.length === 0) {
    return { role: message.role, content: message.content };
  }
  const calls = message.toolCalls.map(({ id, name, arguments: text }) => ({
    id,
    type: 'function',
    function: { name, arguments: text },
  }));
  return { role: 'assistant', content: message.content === '' ? null : message.content, tool_calls: calls };
}

const wireTool = ({ name, description, parameters }: ToolSpec): Record<string, unknown> => ({
  type: 'function',
  function: { name, description, parameters },
});
