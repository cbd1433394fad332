import { type ApiError, invalidRequest } from './api-error.ts';

/** A chat request after validation: one form for what clients write in several. */
export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly RequestMessage[];
  readonly tools: readonly RequestTool[];
  readonly toolChoice: ToolChoice;
  /** The tools stood in the messages, and calls are to be written into the content. */
  readonly toolsInMessages: boolean;
  readonly responseFormat: ResponseFormat;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Completion tokens allowed; Infinity when the request sets no limit. */
  readonly maxTokens: number;
}

export interface RequestMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  readonly toolCalls: readonly RequestToolCall[];
  readonly toolCallId: string;
}

export interface RequestToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

export interface RequestTool {
  readonly name: string;
  readonly description: string;
  readonly parameters: Json;
}

export type ToolChoice =
  | { readonly type: 'auto' | 'none' | 'required' }
  | { readonly type: 'tool'; readonly name: string };

export type ResponseFormat =
  | { readonly type: 'text' }
  | { readonly type: 'json_object' }
  | { readonly type: 'json_schema'; readonly name: string; readonly schema: Json };

export type Json = Readonly<Record<string, unknown>>;

export const asRecord = (value: unknown): Json | null =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Json) : null;

/** Thrown and caught inside this file only, to leave a nested check with its answer. */
class Refusal extends Error {
  readonly error: ApiError;
  constructor(message: string, param: string) {
    super(message);
    this.error = invalidRequest(message, param);
  }
}

export type ParsedRequest =
  | { readonly ok: true; readonly request: ChatRequest }
  | { readonly ok: false; readonly error: ApiError };

/** Checked by hand: a schema library would take a third of the time of a call here. */
export function parseChatRequest(body: unknown): ParsedRequest {
  try {
    return { ok: true, request: readRequest(body) };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, error: error.error };
    throw error;
  }
}

function readRequest(body: unknown): ChatRequest {
  const record = asRecord(body);
  if (record === null) throw new Refusal('The request body must be a JSON object.', 'body');
  const model = record.model;
  if (typeof model !== 'string' || model === '')
    throw new Refusal('You must provide a model parameter.', 'model');
  if (record.n !== undefined && record.n !== null && record.n !== 1) {
    throw new Refusal('This server gives one choice per request; leave n out or set it to 1.', 'n');
  }
  const stream = record.stream === true;
  return {
    model,
    messages: readMessages(record.messages),
    tools: readTools(record.tools),
    toolChoice: readToolChoice(record.tool_choice),
    toolsInMessages: false,
    responseFormat: readResponseFormat(record.response_format),
    stream,
    includeUsage: stream && asRecord(record.stream_options)?.include_usage === true,
    maxTokens: readMaxTokens(record),
  };
}

function readMessages(value: unknown): RequestMessage[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw new Refusal('messages must be an array with at least one message.', 'messages');
  }
  const openCalls = new Set<string>();
  return value.map((item: unknown, index) => {
    const message = readMessage(item, `messages.[${index}]`);
    if (message.role === 'tool' && !openCalls.delete(message.toolCallId)) {
      throw new Refusal(
        "Messages with role 'tool' must answer a tool call of an earlier assistant message, by its tool_call_id.",
        `messages.[${index}].tool_call_id`,
      );
    }
    if (message.role !== 'tool' && openCalls.size > 0) {
      throw new Refusal(
        `An assistant message with tool_calls must be followed by a tool message for each id; missing: ${[...openCalls].join(', ')}.`,
        `messages.[${index}].role`,
      );
    }
    for (const call of message.toolCalls) openCalls.add(call.id);
    return message;
  });
}

const ROLES: Readonly<Record<string, RequestMessage['role']>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  assistant: 'assistant',
  tool: 'tool',
};

function readMessage(value: unknown, path: string): RequestMessage {
  const message = asRecord(value);
  const role = typeof message?.role === 'string' ? ROLES[message.role] : undefined;
  if (message === null || role === undefined) {
    throw new Refusal('A message needs a role: system, developer, user, assistant or tool.', `${path}.role`);
  }
  const toolCalls = role === 'assistant' ? readToolCalls(message.tool_calls, `${path}.tool_calls`) : [];
  const mayBeEmpty = toolCalls.length > 0;
  return {
    role,
    content: readContent(message.content, mayBeEmpty, `${path}.content`),
    toolCalls,
    toolCallId: typeof message.tool_call_id === 'string' ? message.tool_call_id : '',
  };
}

function readContent(value: unknown, mayBeEmpty: boolean, path: string): string {
  if (typeof value === 'string') return value;
  if ((value === null || value === undefined) && mayBeEmpty) return '';
  if (!Array.isArray(value)) throw new Refusal('content must be a string or an array of text parts.', path);
  return value
    .map((part: unknown) => {
      const record = asRecord(part);
      if (record?.type !== 'text' || typeof record.text !== 'string') {
        throw new Refusal('This server takes text parts only.', path);
      }
      return record.text;
    })
    .join('');
}

function readToolCalls(value: unknown, path: string): RequestToolCall[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Refusal('tool_calls must be an array.', path);
  return value.map((item: unknown, index) => {
    const call = asRecord(item);
    const fn = asRecord(call?.function);
    if (typeof call?.id !== 'string' || typeof fn?.name !== 'string' || typeof fn.arguments !== 'string') {
      throw new Refusal(
        'A tool call needs id, function.name and function.arguments (a string).',
        `${path}.[${index}]`,
      );
    }
    return { id: call.id, name: fn.name, arguments: fn.arguments };
  });
}

function readTools(value: unknown): RequestTool[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Refusal('tools must be an array.', 'tools');
  return value.map((item: unknown, index) => {
    const fn = asRecord(asRecord(item)?.function);
    if (typeof fn?.name !== 'string')
      throw new Refusal('A tool needs function.name.', `tools.[${index}].function.name`);
    return {
      name: fn.name,
      description: typeof fn.description === 'string' ? fn.description : '',
      parameters: asRecord(fn.parameters) ?? {},
    };
  });
}

function readToolChoice(value: unknown): ToolChoice {
  if (value === undefined || value === null || value === 'auto') return { type: 'auto' };
  if (value === 'none' || value === 'required') return { type: value };
  const name = asRecord(asRecord(value)?.function)?.name;
  if (typeof name !== 'string') {
    throw new Refusal("tool_choice must be 'none', 'auto', 'required' or name a function.", 'tool_choice');
  }
  return { type: 'tool', name };
}

function readResponseFormat(value: unknown): ResponseFormat {
  if (value === undefined || value === null) return { type: 'text' };
  const format = asRecord(value);
  if (format?.type === 'text' || format?.type === 'json_object') return { type: format.type };
  if (format?.type !== 'json_schema') {
    throw new Refusal(
      'response_format.type must be text, json_object or json_schema.',
      'response_format.type',
    );
  }
  const spec = asRecord(format.json_schema);
  const schema = asRecord(spec?.schema);
  if (typeof spec?.name !== 'string' || schema === null) {
    throw new Refusal(
      'response_format.json_schema needs a name and a schema.',
      'response_format.json_schema',
    );
  }
  return { type: 'json_schema', name: spec.name, schema };
}

function readMaxTokens(record: Json): number {
  const value = record.max_completion_tokens ?? record.max_tokens;
  if (value === undefined || value === null) return Number.POSITIVE_INFINITY;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) {
    throw new Refusal('The token limit must be an integer of at least 1.', 'max_tokens');
  }
  return value;
}
