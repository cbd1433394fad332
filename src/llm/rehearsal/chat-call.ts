/** A chat request and its answer, however they travel: alone, or in a batch. */
import { answer } from './answer.ts';
import { type ApiError, invalidRequest, unknownModel } from './api-error.ts';
import type { ChatRequest } from './chat-request.ts';
import type { UsageReport } from './chat-response.ts';
import { type Completion, complete } from './completion.ts';
import { drawContentFault } from './faults.ts';
import { type RehearsalOptions, servedModels } from './options.ts';
import type { PassageTexts } from './passage-text.ts';
import type { PrefixCache } from './prefix-cache.ts';
import { estimateTokens, renderPrompt, requestKey } from './request-key.ts';
import type { Outcome } from './request-entry.ts';
import { type RehearsedRole, recogniseRole } from './role.ts';
import { callsInContent } from './tools-in-messages.ts';

export interface ChatCall {
  readonly options: RehearsalOptions;
  readonly request: ChatRequest;
  readonly role: RehearsedRole;
  readonly key: string;
  readonly prompt: string;
}

export function chatCall(request: ChatRequest, options: RehearsalOptions): ChatCall {
  const prompt = renderPrompt(request);
  const key = requestKey(options.seed, request.model, prompt);
  return { options, request, role: recogniseRole(request), key, prompt };
}

/** Why the request is not answered at all; null when it is. */
export function refusal({ request, options, prompt }: ChatCall): ApiError | null {
  const models = servedModels(options);
  if (models.length > 0 && !models.includes(request.model)) return unknownModel(request.model);
  const format = request.responseFormat.type;
  if (options.unsupported_response_formats.includes(format)) {
    return invalidRequest(
      `Invalid parameter: 'response_format' of type '${format}' is not supported with this model.`,
      'response_format',
    );
  }
  const usesTools = request.tools.length > 0 || request.messages.some(({ role }) => role === 'tool');
  if (options.unsupported_tools && usesTools && !request.toolsInMessages) {
    return invalidRequest(
      '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
      'tool_choice',
    );
  }
  const tokens = estimateTokens(prompt);
  const limit = options.context_limit_tokens;
  if (limit === 0 || tokens <= limit) return null;
  return invalidRequest(
    `This model's maximum context length is ${limit} tokens. However, your messages resulted in ${tokens} tokens. Please reduce the length of the messages.`,
    'messages',
    'context_length_exceeded',
  );
}

export interface AnsweredCall {
  readonly completion: Completion;
  readonly usage: UsageReport;
  readonly callsTools: boolean;
}

export function answerTo(
  { request, options, role, key, prompt }: ChatCall,
  { texts, cache }: { readonly texts: PassageTexts; readonly cache: PrefixCache },
): AnsweredCall {
  const fault = drawContentFault(options, key);
  const drawn = answer(request, role, key, options, texts, fault === 'duplicate');
  const drafted = complete(drawn, fault, key, request.maxTokens);
  const completion = request.toolsInMessages ? callsInContent(drafted) : drafted;
  const usage: UsageReport = {
    promptTokens: estimateTokens(prompt),
    cachedTokens: cache.account(request.model, prompt),
    completionTokens: completion.completionTokens,
  };
  return { completion, usage, callsTools: drawn.type === 'tools' };
}

export const outcomeOf = (completion: Completion): Outcome =>
  completion.fault === 'none' ? 'answered' : completion.fault;
