/** What was paid for, by what was called. */
import type { CallTotals } from '../ports/store.ts';
import { count, duration } from './format.ts';

interface Totals {
  readonly calls: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export function callLine({ calls, promptTokens, cachedTokens, completionTokens }: Totals): string {
  const tokens = `${count(promptTokens)} prompt (${count(cachedTokens)} cached), ${count(completionTokens)} completion`;
  return `${count(calls)} answers; tokens: ${tokens}`;
}

export function modelLines(models: readonly CallTotals[]): string[] {
  return models.map(({ role, calls, model, endpoint, latencyMs }) => {
    const where = endpoint === model ? model : `${model} at ${endpoint}`;
    return `${role}: ${count(calls)} × ${where}, ${duration(calls === 0 ? 0 : latencyMs / calls)} on average`;
  });
}
