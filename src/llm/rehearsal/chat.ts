import { type ApiError, rateLimited, serverError } from './api-error.ts';
import type { CapacityGate } from './capacity-gate.ts';
import { answerTo, type ChatCall, chatCall, outcomeOf, refusal } from './chat-call.ts';
import { asRecord, type ChatRequest, parseChatRequest } from './chat-request.ts';
import { chatBody, chatEvents, type UsageReport } from './chat-response.ts';
import type { Completion } from './completion.ts';
import { Draws } from './draws.ts';
import type { Exchange } from './exchange.ts';
import { drawTransportFault, type TransportFault } from './faults.ts';
import { drawLatency, type LatencyClass } from './latency.ts';
import type { RehearsalOptions } from './options.ts';
import type { PassageTexts } from './passage-text.ts';
import type { PrefixCache } from './prefix-cache.ts';
import type { Arrival, Outcome } from './request-entry.ts';
import type { RequestLog } from './request-log.ts';
import { withToolsFromMessages } from './tools-in-messages.ts';

/** What a server's chat calls share. */
export interface ChatParts {
  readonly log: RequestLog;
  readonly gate: CapacityGate;
  readonly cache: PrefixCache;
  readonly texts: PassageTexts;
}

/** One request on its way, with everything that was drawn for it. */
interface Call extends ChatCall {
  readonly exchange: Exchange;
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
  const call = chatCall(request, options);
  const seen = parts.log.arrived('chat', call.key, call.role, request.model);
  const headers = { 'x-rehearsal-key': call.key, 'x-request-id': `rehearsal-${seen.seq}` };
  return { ...call, exchange, seen, headers };
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
  const { completion, usage, callsTools } = answerTo(call, parts);
  const latencyClass: LatencyClass = role === 'assistant' && callsTools ? 'assistant_tools' : role;
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
