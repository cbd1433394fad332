import { answer } from './answer.ts';
import { type ApiError, invalidRequest, rateLimited, serverError, unknownModel } from './api-error.ts';
import type { CapacityGate } from './capacity-gate.ts';
import { asRecord, type ChatRequest, parseChatRequest } from './chat-request.ts';
import { chatBody, chatEvents, type UsageReport } from './chat-response.ts';
import { type Completion, complete } from './completion.ts';
import { Draws } from './draws.ts';
import type { Exchange } from './exchange.ts';
import { drawContentFault, drawTransportFault, type TransportFault } from './faults.ts';
import { drawLatency, type LatencyClass } from './latency.ts';
import { type RehearsalOptions, servedModels } from './options.ts';
import type { PassageTexts } from './passage-text.ts';
import type { PrefixCache } from './prefix-cache.ts';
import { estimateTokens, renderPrompt, requestKey } from './request-key.ts';
import type { Arrival, Outcome } from './request-entry.ts';
import type { RequestLog } from './request-log.ts';
import { type RehearsedRole, recogniseRole } from './role.ts';
import { callsInContent, withToolsFromMessages } from './tools-in-messages.ts';

/** What a server's chat calls share. */
export interface ChatParts {
  readonly log: RequestLog;
  readonly gate: CapacityGate;
  readonly cache: PrefixCache;
  readonly texts: PassageTexts;
}

/** One request on its way, with everything that was drawn for it. */
interface Call {
  readonly exchange: Exchange;
  readonly options: RehearsalOptions;
  readonly request: ChatRequest;
  readonly role: RehearsedRole;
  readonly key: string;
  readonly prompt: string;
  readonly seen: Arrival;
  readonly headers: Readonly<Record<string, string>>;
}

/** Serves `POST /v1/chat/completions`: check, draw the faults, wait for a place, answer, log. */
export async function serveChat(
  exchange: Exchange,
  body: unknown,
  options: RehearsalOptions,
  parts: ChatParts,
) {
  const parsed = parseChatRequest(body);
  if (!parsed.ok) {
    const model = asRecord(body)?.model;
    const seen = parts.log.arrived('chat', '', 'general', typeof model === 'string' ? model : '');
    parts.log.completed(seen, { outcome: 'refused', status: parsed.error.status });
    return exchange.fail(parsed.error);
  }
  const call = arrive(exchange, withToolsFromMessages(parsed.request), options, parts);
  const error = refusal(call) ?? overload(call, parts.gate);
  if (error !== null) return refuse(call, error, error.status === 429 ? 'over_capacity' : 'refused', parts);

  const fault = drawTransportFault(options, call.key, call.seen.arrival);
  if (fault === 'rate_limit') {
    return refuse(call, rateLimited(options.retry_after_s, 'Rate limit reached.'), 'rate_limited', parts);
  }
  if (fault === 'server_error') {
    const status = new Draws('status', call.key, call.seen.arrival).pick('status', [500, 502, 503, 504], 500);
    return refuse(call, serverError(status), 'server_error', parts);
  }
  const entered = parts.gate.tryEnter() || (await exchange.until((enter) => parts.gate.wait(enter)));
  if (!entered) return parts.log.completed(call.seen, { outcome: 'client_gone', status: 0 });
  try {
    await serve(call, fault, parts);
  } finally {
    parts.gate.leave();
  }
}

function arrive(exchange: Exchange, request: ChatRequest, options: RehearsalOptions, parts: ChatParts): Call {
  const prompt = renderPrompt(request);
  const key = requestKey(options.seed, request.model, prompt);
  const role = recogniseRole(request);
  const seen = parts.log.arrived('chat', key, role, request.model);
  const headers = { 'x-rehearsal-key': key, 'x-request-id': `rehearsal-${seen.seq}` };
  return { exchange, options, request, role, key, prompt, seen, headers };
}

function refusal({ request, options, prompt }: Call): ApiError | null {
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

function overload({ options }: Call, gate: CapacityGate): ApiError | null {
  if (!options.reject_over_capacity || !gate.full) return null;
  return rateLimited(options.retry_after_s, 'All places are taken.');
}

function refuse(call: Call, error: ApiError, outcome: Outcome, parts: ChatParts): void {
  parts.log.completed(call.seen, { outcome, status: error.status });
  call.exchange.fail(error, call.headers);
}

/** Holds a place from here on. */
async function serve(call: Call, fault: TransportFault, parts: ChatParts): Promise<void> {
  const { exchange, options, request, role, key, seen } = call;
  const contentFault = drawContentFault(options, key);
  const drawn = answer(request, role, key, options, parts.texts, contentFault === 'duplicate');
  const drafted = complete(drawn, contentFault, key, request.maxTokens);
  const completion = request.toolsInMessages ? callsInContent(drafted) : drafted;
  const usage: UsageReport = {
    promptTokens: estimateTokens(call.prompt),
    cachedTokens: parts.cache.account(request.model, call.prompt),
    completionTokens: completion.completionTokens,
  };
  const latencyClass: LatencyClass =
    role === 'assistant' && drawn.type === 'tools' ? 'assistant_tools' : role;
  const latencyMs = drawLatency(options.latency, latencyClass, key, seen.arrival);
  const paceMs =
    options.tokens_per_second === 0 ? 0 : (usage.completionTokens / options.tokens_per_second) * 1000;
  const stallMs = fault === 'stall' ? options.stall_s * 1000 : 0;
  const served = { call, completion, usage, paceMs, stallMs, serviceMs: latencyMs + paceMs + stallMs, parts };

  const stayed = latencyMs === 0 || (await exchange.pause(fault === 'reset' ? latencyMs / 2 : latencyMs));
  if (!stayed) return finish(served, 'client_gone', 0);
  if (request.stream) return serveEvents(served, fault);
  if (fault === 'reset') return breakOff(served);
  const waitMs = stallMs + paceMs;
  if (waitMs > 0 && !(await exchange.pause(waitMs))) return finish(served, 'client_gone', 0);
  finish(served, outcomeOf(completion), 200);
  exchange.json(chatBody(key, request.model, completion, usage), call.headers);
}

interface Served {
  readonly call: Call;
  readonly completion: Completion;
  readonly usage: UsageReport;
  readonly paceMs: number;
  readonly stallMs: number;
  readonly serviceMs: number;
  readonly parts: ChatParts;
}

async function serveEvents(served: Served, fault: TransportFault): Promise<void> {
  const { call, completion, usage, paceMs, stallMs } = served;
  const { exchange, request } = call;
  const events = chatEvents(call.key, request.model, completion, request.includeUsage ? usage : null);
  const middle = events.length >> 1;
  exchange.startEvents(call.headers);
  if (paceMs === 0 && fault === 'none') {
    finish(served, outcomeOf(completion), 200);
    return exchange.end(events.join(''));
  }
  for (const [index, event] of events.entries()) {
    if (index === middle && fault === 'reset') return breakOff(served);
    const waitMs = paceMs / events.length + (index === middle ? stallMs : 0);
    if (waitMs > 0 && !(await exchange.pause(waitMs))) return finish(served, 'client_gone', 0);
    if (exchange.gone) return finish(served, 'client_gone', 0);
    if (index < events.length - 1) exchange.write(event);
  }
  finish(served, outcomeOf(completion), 200);
  exchange.end(events.at(-1));
}

function breakOff(served: Served): void {
  finish(served, 'reset', 0);
  served.call.exchange.reset();
}

const outcomeOf = (completion: Completion): Outcome =>
  completion.fault === 'none' ? 'answered' : completion.fault;

function finish(
  { call, completion, usage, stallMs, serviceMs, parts }: Served,
  outcome: Outcome,
  status: number,
) {
  parts.log.completed(call.seen, {
    outcome,
    status,
    stalled: stallMs > 0,
    tool_calls: completion.toolCalls.length,
    prompt_tokens: usage.promptTokens,
    cached_tokens: usage.cachedTokens,
    completion_tokens: usage.completionTokens,
    service_ms: Math.round(serviceMs * 100) / 100,
  });
}
