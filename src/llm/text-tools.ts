/**
 * Tools for models whose server takes none: vLLM without a tool parser, or a model that was not trained for them.
 * The tools stand in the system message, a call is an answer of its own JSON form, results come back as messages
 * of the user. Nothing of this is seen outside `src/llm`: calls look like any other in answers and journals.
 */
import { z } from 'zod';
import type { ChatMessage, ModelRequest, ToolCall, ToolSpec } from '../dialogue/chat.ts';
import { extractObjects } from '../dialogue/json-extract.ts';
import type { ServerError } from './server-error.ts';

/** Opens the part of the system message that names the tools, one a line, each as JSON. */
export const TEXT_TOOLS_MARKER = 'Tools that you may use:';
/** Opens each result in the message that answers a call. */
export const TEXT_RESULT_MARKER = 'Result of ';

const HOW_TO = [
  'To use tools, answer with one JSON object of this form and nothing else:',
  '{"tool_calls": [{"name": "<tool>", "arguments": {<its arguments>}}]}',
  'Their results follow in the next message. When you need no tool, or none any more, answer in the form that was asked for.',
].join('\n');

/** The same request without the fields that such a server refuses. */
export function withTextTools(request: ModelRequest): ModelRequest {
  const { tools, output } = request;
  const messages = textMessages(request.messages);
  if (tools.length === 0) return { ...request, messages };
  return {
    ...request,
    messages: messages.map((message, index) =>
      index === 0 && message.role === 'system'
        ? { ...message, content: `${message.content}\n\n${toolsText(tools)}` }
        : message,
    ),
    tools: [],
    output: {
      name: `${output.name}_or_tool_calls`,
      schema: { anyOf: [callsSchema(tools), output.schema] },
    },
  };
}

const toolsText = (tools: readonly ToolSpec[]): string =>
  [
    TEXT_TOOLS_MARKER,
    ...tools.map(({ name, description, parameters }) => JSON.stringify({ name, description, parameters })),
    HOW_TO,
  ].join('\n');

const callsSchema = (tools: readonly ToolSpec[]): Readonly<Record<string, unknown>> => ({
  type: 'object',
  properties: {
    tool_calls: {
      type: 'array',
      minItems: 1,
      maxItems: CALLS_MAX,
      items: {
        anyOf: tools.map(({ name, parameters }) => ({
          type: 'object',
          properties: { name: { const: name }, arguments: parameters },
          required: ['name', 'arguments'],
          additionalProperties: false,
        })),
      },
    },
  },
  required: ['tool_calls'],
  additionalProperties: false,
});

const CALLS_MAX = 8;

/** Results that follow each other become one message, so that user and assistant take turns. */
function textMessages(messages: readonly ChatMessage[]): ChatMessage[] {
  const written: ChatMessage[] = [];
  let results: string[] = [];
  const flush = (): void => {
    if (results.length > 0) written.push({ role: 'user', content: results.join('\n\n') });
    results = [];
  };
  for (const message of messages) {
    if (message.role === 'tool') {
      results.push(`${TEXT_RESULT_MARKER}${message.name}:\n${message.content}`);
      continue;
    }
    flush();
    written.push(message.role === 'assistant' ? callsAsText(message) : message);
  }
  flush();
  return written;
}

function callsAsText(message: Extract<ChatMessage, { role: 'assistant' }>): ChatMessage {
  const { content, toolCalls } = message;
  if (toolCalls === undefined || toolCalls.length === 0) return message;
  const calls = toolCalls.map(({ name, arguments: text }) => ({ name, arguments: argumentsOf(text) }));
  const asked = JSON.stringify({ tool_calls: calls });
  return { role: 'assistant', content: content.trim() === '' ? asked : `${content}\n${asked}` };
}

function argumentsOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The model wrote no JSON; it sees its own words again.
    return text;
  }
}

const CALLS = z.object({
  tool_calls: z
    .array(z.object({ name: z.string().min(1), arguments: z.unknown().optional() }))
    .min(1)
    .max(CALLS_MAX),
});

/** The calls that an answer consists of; empty when it is an answer of another form. */
export function callsInText(content: string): readonly ToolCall[] {
  if (!content.includes('"tool_calls"')) return [];
  const parsed = extractObjects(content)
    .objects.map((object) => CALLS.safeParse(object))
    .find(({ success }) => success);
  return (parsed?.data?.tool_calls ?? []).map(({ name, arguments: given }, index) => ({
    id: `call_${index}`,
    name,
    arguments: typeof given === 'string' ? given : JSON.stringify(given ?? {}),
  }));
}

const NO_TOOLS =
  /tool[ _-]?choice requires|enable-auto-tool-choice|tool-call-parser|(?:does|do) not support (?:the use of )?(?:tools?|function)|doesn'?t support (?:tools?|function)|(?:tools?|function calling|tool use|tool calling) (?:is|are) not (?:yet )?(?:supported|enabled|available)|no endpoints? found that supports? tool use|unsupported.{0,40}\btools?\b/i;

/** Whether a server says that it takes no tools at all, rather than that these are wrong. */
export const refusesTools = ({ message }: ServerError, status: number): boolean =>
  [400, 404, 422, 501].includes(status) && NO_TOOLS.test(message);
