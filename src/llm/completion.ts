import { z } from 'zod';
import type { ToolCall, Usage } from '../dialogue/chat.ts';

/** What a response body says, in one shape for every provider (as in 0.1.0). */
export type Completion =
  | {
      readonly type: 'completion';
      readonly content: string;
      readonly toolCalls: readonly ToolCall[];
      readonly finishReason: string;
      readonly usage: Usage;
      readonly rehearsal: boolean;
    }
  | { readonly type: 'declined'; readonly reason: string }
  | { readonly type: 'unreadable'; readonly reason: string };

const toolCallSchema = z.object({
  id: z.union([z.string(), z.number()]).nullish(),
  function: z.object({ name: z.string().min(1), arguments: z.unknown() }),
});

const countSchema = z.number().int().nonnegative().nullish().catch(null);
const detailsSchema = z.object({ cached_tokens: countSchema }).nullish().catch(null);

/** OpenAI's names first; the others are what DeepSeek, Anthropic and Moonshot call the same counts. */
const usageSchema = z
  .object({
    prompt_tokens: countSchema,
    input_tokens: countSchema,
    completion_tokens: countSchema,
    output_tokens: countSchema,
    prompt_tokens_details: detailsSchema,
    input_tokens_details: detailsSchema,
    prompt_cache_hit_tokens: countSchema,
    cache_read_input_tokens: countSchema,
    cached_tokens: countSchema,
  })
  .nullish()
  .catch(null);

const bodySchema = z.object({
  choices: z
    .array(
      z.object({
        finish_reason: z.string().nullish(),
        message: z.object({
          content: z.unknown(),
          refusal: z.string().nullish(),
          tool_calls: z.union([z.array(toolCallSchema), toolCallSchema]).nullish(),
        }),
      }),
    )
    .min(1),
  usage: usageSchema,
  system_fingerprint: z.string().nullish(),
});

export function readCompletion(body: unknown): Completion {
  const parsed = bodySchema.safeParse(body);
  if (!parsed.success) return { type: 'unreadable', reason: unreadableReason(body, parsed.error) };
  const { choices, usage, system_fingerprint: fingerprint } = parsed.data;
  const choice = choices[0];
  if (choice === undefined) return { type: 'unreadable', reason: 'the answer has no choices' };
  const { content, refusal, tool_calls: calls } = choice.message;
  if (refusal) return { type: 'declined', reason: `the model refused: ${refusal.slice(0, 300)}` };
  if (choice.finish_reason === 'content_filter')
    return { type: 'declined', reason: "the provider's content filter stopped the answer" };
  const toolCalls = calls == null ? [] : (Array.isArray(calls) ? calls : [calls]).map(toolCall);
  return {
    type: 'completion',
    content: textOf(content),
    toolCalls,
    finishReason: choice.finish_reason ?? (toolCalls.length > 0 ? 'tool_calls' : 'stop'),
    usage: usageOf(usage),
    rehearsal: fingerprint === 'rehearsal',
  };
}

function toolCall(call: z.output<typeof toolCallSchema>, index: number): ToolCall {
  const { name, arguments: given } = call.function;
  const text = given == null ? '{}' : typeof given === 'string' ? given : JSON.stringify(given);
  return { id: call.id == null || call.id === '' ? `call_${index}` : String(call.id), name, arguments: text };
}

/** Text as it is, the texts of a list of parts joined, a mapping's text or else its JSON. */
function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  if (content == null) return '';
  if (Array.isArray(content)) return content.map(partText).join('');
  if (typeof content !== 'object') return JSON.stringify(content);
  const text = partText(content);
  return text === '' ? JSON.stringify(content) : text;
}

function partText(part: unknown): string {
  if (typeof part === 'string') return part;
  if (part === null || typeof part !== 'object') return '';
  if ('text' in part && typeof part.text === 'string') return part.text;
  return 'content' in part && typeof part.content === 'string' ? part.content : '';
}

function usageOf(usage: z.output<typeof usageSchema>): Usage {
  if (usage == null) return { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
  const cached =
    usage.prompt_tokens_details?.cached_tokens ??
    usage.input_tokens_details?.cached_tokens ??
    usage.prompt_cache_hit_tokens ??
    usage.cache_read_input_tokens ??
    usage.cached_tokens;
  return {
    promptTokens: usage.prompt_tokens ?? usage.input_tokens ?? 0,
    cachedTokens: cached ?? 0,
    completionTokens: usage.completion_tokens ?? usage.output_tokens ?? 0,
  };
}

function unreadableReason(body: unknown, error: z.ZodError): string {
  if (body === null || typeof body !== 'object') return 'the answer is no JSON object';
  const issue = error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? 'its body' : issue.path.join('.');
  return `the answer is no chat completion (${where}: ${issue?.message ?? 'wrong shape'})`;
}
