import { ROLES } from '../dialogue/chat.ts';
import type { CallTotals } from '../ports/store.ts';

/** What the store keeps beside an event that carries a paid answer: one call's share of `CallTotals`. */
export type PaidCall = Omit<CallTotals, 'calls'>;

const ROLE_OF_PURPOSE: Readonly<Record<string, string>> = {
  question: 'user',
  answer: 'assistant',
  verdict: 'judge',
  conversation_verdict: 'judge',
};

/** The call that an event paid for, or null: most events carry no model answer. */
export function paidCallOf(event: unknown): PaidCall | null {
  if (!isObject(event) || !isObject(event['answer'])) return null;
  const answer = event['answer'];
  if (!isObject(answer['usage']) || typeof answer['endpoint'] !== 'string') return null;
  return {
    role: roleOf(event),
    endpoint: answer['endpoint'],
    model: typeof answer['model'] === 'string' ? answer['model'] : '',
    promptTokens: count(answer['usage']['promptTokens']),
    cachedTokens: count(answer['usage']['cachedTokens']),
    completionTokens: count(answer['usage']['completionTokens']),
    latencyMs: count(answer['latencyMs']),
    rehearsal: answer['rehearsal'] === true,
  };
}

/** Groups calls as `callTotals` gives them, in a fixed order. */
export function sumCalls(calls: Iterable<PaidCall>): CallTotals[] {
  const sums = new Map<string, CallTotals>();
  for (const call of calls) {
    const key = JSON.stringify([call.role, call.endpoint, call.model, call.rehearsal]);
    const sum = sums.get(key);
    sums.set(key, sum === undefined ? { ...call, calls: 1 } : added(sum, call));
  }
  return orderedTotals([...sums.values()]);
}

/** By role in their usual order, then by endpoint and model. */
export function orderedTotals(totals: readonly CallTotals[]): CallTotals[] {
  const rank = (role: string): number => {
    const position = (ROLES as readonly string[]).indexOf(role);
    return position < 0 ? ROLES.length : position;
  };
  const key = (total: CallTotals): string =>
    `${rank(total.role)} ${total.role}\n${total.endpoint}\n${total.model}`;
  return totals.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

function added(sum: CallTotals, call: PaidCall): CallTotals {
  return {
    ...sum,
    calls: sum.calls + 1,
    promptTokens: sum.promptTokens + call.promptTokens,
    cachedTokens: sum.cachedTokens + call.cachedTokens,
    completionTokens: sum.completionTokens + call.completionTokens,
    latencyMs: sum.latencyMs + call.latencyMs,
  };
}

function roleOf(event: Readonly<Record<string, unknown>>): string {
  if (typeof event['role'] === 'string') return event['role'];
  const purpose = event['purpose'];
  return (typeof purpose === 'string' ? ROLE_OF_PURPOSE[purpose] : undefined) ?? 'other';
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? Math.round(value) : 0;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
