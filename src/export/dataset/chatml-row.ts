/** A conversation as one ChatML text, with the calls and results of tools in the form that Hermes models use. */
import { pythonJson } from '../../dialogue/python-json.ts';
import { type ChatMessage, chatMessages } from './openai-row.ts';
import type { ExportRow, Field } from './schema.ts';

export const CHATML_FIELDS: Readonly<Record<string, Field>> = {
  conversation_id: 'text',
  language: 'text',
  text: 'text',
};

export const chatmlLine = (row: ExportRow): string =>
  pythonJson({
    conversation_id: row.metadata.conversation_id,
    language: row.metadata.language,
    text: chatmlText(row),
  });

/** `<|im_start|>role`, a line end, the content, `<|im_end|>`, a line end; for each message. */
export function chatmlText(row: ExportRow): string {
  return chatMessages(row)
    .map((message) => `${START}${escapeMarkers(message.role)}\n${contentOf(message)}${END}\n`)
    .join('');
}

const START = '<|im_start|>';
const END = '<|im_end|>';

function contentOf({ role, content, tool_calls: calls = [] }: ChatMessage): string {
  if (role === 'tool') return `<tool_response>\n${escapeMarkers(content)}\n</tool_response>`;
  const parts = [
    ...(content === '' ? [] : [content]),
    ...calls.map(
      ({ function: { name, arguments: given } }) =>
        `<tool_call>\n{"name": ${JSON.stringify(name)}, "arguments": ${given === '' ? '{}' : given}}\n</tool_call>`,
    ),
  ];
  return escapeMarkers(parts.join('\n'));
}

/**
 * A marker in a text would end its message for a tokeniser: it gets a backslash behind its `<`, and one that
 * has backslashes there already gets one more. Taking one away gives the text back.
 */
export const escapeMarkers = (text: string): string =>
  text.replace(/<(\\*)\|(im_start|im_end)\|>/g, '<\\$1|$2|>');

export const unescapeMarkers = (text: string): string =>
  text.replace(/<\\(\\*)\|(im_start|im_end)\|>/g, '<$1|$2|>');
