/** A conversation as the chat-completions API takes it: messages with tool calls, and the tools. */
import { pythonJson } from '../../dialogue/python-json.ts';
import { toolSpecs } from '../../dialogue/tools.ts';
import type { ExportRow, Field } from './schema.ts';

type ToolMessage = ExportRow['messages_with_tools'][number];

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly tool_calls?: readonly ChatToolCall[];
  readonly tool_call_id?: string;
}

export interface ChatToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

/** @param tools what `toolDefinitions` gives for all that the dataset's conversations call. */
export function openaiRow(row: ExportRow, tools: readonly object[]): object {
  return { messages: chatMessages(row), tools };
}

/**
 * The messages of a row. Keys that a message does not need are left out: servers refuse an empty list of
 * calls. Every result answers a call: in files of 0.1.0 the ids of the two may differ (fault J3), then the
 * results answer the open calls in their order.
 */
export function chatMessages(row: ExportRow): readonly ChatMessage[] {
  const source = row.messages_with_tools.length > 0 ? row.messages_with_tools : row.messages.map(plain);
  let open: string[] = [];
  let calls = 0;
  return source.map((message): ChatMessage => {
    const { role, content } = message;
    if (role === 'tool') {
      const id = open.includes(message.tool_call_id)
        ? message.tool_call_id
        : (open[0] ?? message.tool_call_id);
      open = open.filter((other) => other !== id);
      return { role, tool_call_id: id, content };
    }
    if (message.tool_calls.length === 0) return { role, content };
    const toolCalls = message.tool_calls.map((call): ChatToolCall => {
      calls += 1;
      const id = call.id === '' ? `call_${calls}` : call.id;
      return {
        id,
        type: 'function',
        function: { name: call.function.name, arguments: call.function.arguments },
      };
    });
    open = toolCalls.map(({ id }) => id);
    return { role, content, tool_calls: toolCalls };
  });
}

const plain = ({ role, content, agent }: ExportRow['messages'][number]): ToolMessage => ({
  role,
  content,
  agent,
  tool_calls: [],
  tool_call_id: '',
  name: '',
});

/** The names of the tools that a conversation calls. */
export const toolNames = (row: ExportRow): readonly string[] =>
  row.messages_with_tools.flatMap(({ tool_calls }) => tool_calls.map((call) => call.function.name));

/** What a model is told of these tools; of one that dlgforge does not have, its name. */
export function toolDefinitions(names: Iterable<string>): readonly object[] {
  const known = new Map(toolSpecs({ webSearch: true }).map((spec) => [spec.name, spec]));
  return [...names].toSorted().map((name) => {
    const { description, parameters } = known.get(name) ?? {
      description: '',
      parameters: { type: 'object', properties: {}, required: [], additionalProperties: true },
    };
    return { type: 'function', function: { name, description, parameters } };
  });
}

const parameter = (more: Readonly<Record<string, Field>> = {}): Field => ({
  kind: 'object',
  fields: { type: 'text', ...more, description: 'text' },
});

/** Types of the columns; a key that a message or tool does not have reads as null. */
export const OPENAI_FIELDS: Readonly<Record<string, Field>> = {
  messages: {
    kind: 'list',
    item: {
      kind: 'object',
      fields: {
        role: 'text',
        content: 'text',
        tool_calls: {
          kind: 'list',
          item: {
            kind: 'object',
            fields: {
              id: 'text',
              type: 'text',
              function: { kind: 'object', fields: { name: 'text', arguments: 'text' } },
            },
          },
        },
        tool_call_id: 'text',
      },
    },
  },
  tools: {
    kind: 'list',
    item: {
      kind: 'object',
      fields: {
        type: 'text',
        function: {
          kind: 'object',
          fields: {
            name: 'text',
            description: 'text',
            parameters: {
              kind: 'object',
              fields: {
                type: 'text',
                properties: {
                  kind: 'object',
                  fields: { query: parameter(), k: parameter({ minimum: 'whole' }) },
                },
                required: { kind: 'texts' },
                additionalProperties: 'truth',
              },
            },
          },
        },
      },
    },
  },
};

export const openaiLine = (row: ExportRow, tools: readonly object[]): string =>
  pythonJson(openaiRow(row, tools));
