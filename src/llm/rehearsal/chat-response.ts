import type { Completion } from './completion.ts';

/** Fixed, so that equal requests get equal bytes; real servers put the time here. */
const CREATED = 1_735_689_600;
export const FINGERPRINT = 'rehearsal';
const PIECE_CHARS = 16;

export interface UsageReport {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

const usageBody = (usage: UsageReport) => ({
  prompt_tokens: usage.promptTokens,
  completion_tokens: usage.completionTokens,
  total_tokens: usage.promptTokens + usage.completionTokens,
  prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  completion_tokens_details: { reasoning_tokens: 0 },
});

const wireCall = (call: Completion['toolCalls'][number]) => ({
  id: call.id,
  type: 'function',
  function: { name: call.name, arguments: call.arguments },
});

/** The body of an answer that is sent whole. */
export function chatBody(key: string, model: string, completion: Completion, usage: UsageReport): string {
  const { content, toolCalls } = completion;
  const calls = toolCalls.length === 0 ? {} : { tool_calls: toolCalls.map(wireCall) };
  return JSON.stringify({
    id: `chatcmpl-${key}`,
    object: 'chat.completion',
    created: CREATED,
    model,
    system_fingerprint: FINGERPRINT,
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: content === '' && toolCalls.length > 0 ? null : content,
          refusal: null,
          ...calls,
        },
        logprobs: null,
        finish_reason: completion.finishReason,
      },
    ],
    usage: usageBody(usage),
  });
}

/** The server-sent events of an answer, each with its share of the tokens. */
export function chatEvents(
  key: string,
  model: string,
  completion: Completion,
  usage: UsageReport | null,
): readonly string[] {
  const event = (choices: readonly unknown[], extra: object = {}): string =>
    `data: ${JSON.stringify({
      id: `chatcmpl-${key}`,
      object: 'chat.completion.chunk',
      created: CREATED,
      model,
      system_fingerprint: FINGERPRINT,
      choices,
      ...extra,
    })}\n\n`;
  const delta = (value: object, finishReason: string | null = null): string =>
    event([{ index: 0, delta: value, logprobs: null, finish_reason: finishReason }]);

  const events = [delta({ role: 'assistant', content: completion.toolCalls.length > 0 ? null : '' })];
  for (const content of pieces(completion.content)) events.push(delta({ content }));
  completion.toolCalls.forEach((call, index) => {
    events.push(delta({ tool_calls: [{ ...wireCall({ ...call, arguments: '' }), index }] }));
    for (const text of pieces(call.arguments)) {
      events.push(delta({ tool_calls: [{ index, function: { arguments: text } }] }));
    }
  });
  events.push(delta({}, completion.finishReason));
  if (usage !== null) events.push(event([], { usage: usageBody(usage) }));
  events.push('data: [DONE]\n\n');
  return events;
}

/** Pieces of about four tokens; no piece ends between the halves of a surrogate pair. */
function pieces(text: string): string[] {
  const found: string[] = [];
  for (let start = 0; start < text.length; ) {
    const cut = Math.min(start + PIECE_CHARS, text.length);
    const end = cut < text.length && isHighSurrogate(text.charCodeAt(cut - 1)) ? cut + 1 : cut;
    found.push(text.slice(start, end));
    start = end;
  }
  return found;
}

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
