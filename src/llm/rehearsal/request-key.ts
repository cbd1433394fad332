import { sha256 } from '../../kernel/hash.ts';
import type { ChatRequest, RequestMessage } from './chat-request.ts';

/** The prompt as one text, tools first as chat templates put them; what the prefix cache sees. */
export function renderPrompt(request: ChatRequest): string {
  let text = '';
  for (const tool of request.tools) {
    text += `\u0001tool\u0002${tool.name}\u0002${tool.description}\u0002${JSON.stringify(tool.parameters)}`;
  }
  for (const message of request.messages) text += renderMessage(message);
  return text;
}

function renderMessage(message: RequestMessage): string {
  let text = `\u0001${message.role}\u0002${message.content}`;
  for (const call of message.toolCalls) text += `\u0003${call.id}\u0002${call.name}\u0002${call.arguments}`;
  return message.toolCallId === '' ? text : `${text}\u0004${message.toolCallId}`;
}

/**
 * Names a request: equal seed, model, messages and tools have equal keys. Formats, streaming and
 * limits are not part of it, so a client that falls back to another response format asks the same.
 */
export function requestKey(seed: number, model: string, prompt: string): string {
  return sha256(`${seed}\u0000${model}\u0000${prompt}`).slice(0, 32);
}

/** Four characters count as one token, the usual estimate for English. */
export const estimateTokens = (text: string): number => Math.ceil(text.length / 4);
