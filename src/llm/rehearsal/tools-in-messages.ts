/** The inverse of `src/llm/text-tools.ts`: a server that plays a model which was told of its tools in words. */
import { callsInText, TEXT_RESULT_MARKER, TEXT_TOOLS_MARKER } from '../text-tools.ts';
import { asRecord, type ChatRequest, type RequestMessage, type RequestTool } from './chat-request.ts';
import type { Completion } from './completion.ts';
import { parseJson } from './prompt-reading.ts';

/** The request as it would have come with tools; any other request as it is. */
export function withToolsFromMessages(request: ChatRequest): ChatRequest {
  const [first, ...rest] = request.messages;
  if (first === undefined || request.tools.length > 0) return request;
  const at = first.content.indexOf(`\n\n${TEXT_TOOLS_MARKER}\n`);
  if (at === -1) return request;
  const tools = toolsIn(first.content.slice(at));
  const system = { ...first, content: first.content.slice(0, at) };
  return { ...request, messages: [system, ...withCalls(rest)], tools, toolsInMessages: true };
}

const toolsIn = (text: string): RequestTool[] =>
  text.split('\n').flatMap((line) => {
    const tool = asRecord(parseJson(line));
    return typeof tool?.['name'] === 'string'
      ? [{ name: tool['name'], description: '', parameters: asRecord(tool['parameters']) ?? {} }]
      : [];
  });

/** An answer that consists of calls, and the message with their results, in the form of the API. */
function withCalls(messages: readonly RequestMessage[]): RequestMessage[] {
  let open: readonly string[] = [];
  return messages.flatMap((message, index) => {
    const calls = message.role === 'assistant' ? callsInText(message.content) : [];
    if (calls.length > 0) {
      const toolCalls = calls.map((call, position) => ({ ...call, id: `written_${index}_${position}` }));
      open = toolCalls.map(({ id }) => id);
      return [{ ...message, content: '', toolCalls }];
    }
    if (message.role !== 'user' || open.length === 0) return [message];
    const results = message.content.split(`\n\n${TEXT_RESULT_MARKER}`);
    const answered = open.map(
      (toolCallId, position): RequestMessage => ({
        role: 'tool',
        content: (results[position] ?? '').replace(/^[^\n]*\n/u, ''),
        toolCalls: [],
        toolCallId,
      }),
    );
    open = [];
    return answered;
  });
}

/** The calls of an answer as a model without tools writes them. */
export function callsInContent(completion: Completion): Completion {
  if (completion.toolCalls.length === 0) return completion;
  const calls = completion.toolCalls.map(({ name, arguments: text }) => ({
    name,
    arguments: parseJson(text) ?? text,
  }));
  return {
    ...completion,
    content: JSON.stringify({ tool_calls: calls }),
    toolCalls: [],
    finishReason: completion.finishReason === 'tool_calls' ? 'stop' : completion.finishReason,
  };
}
