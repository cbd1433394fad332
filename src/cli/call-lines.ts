/** What was paid for, by what was called. */
import type { RunReport } from '../bootstrap/run-report.ts';
import { count, duration } from './format.ts';

type Totals = Pick<RunReport, 'calls' | 'promptTokens' | 'cachedTokens' | 'completionTokens'>;

export function callLine({ calls, promptTokens, cachedTokens, completionTokens }: Totals): string {
  const tokens = `${count(promptTokens)} prompt (${count(cachedTokens)} cached), ${count(completionTokens)} completion`;
  return `${count(calls)} answers; tokens: ${tokens}`;
}

export function modelLines(models: RunReport['models']): string[] {
  return models.map(({ role, calls, model, endpoint, latencyMs }) => {
    const where = endpoint === model ? model : `${model} at ${endpoint}`;
    return `${role}: ${count(calls)} × ${where}, ${duration(calls === 0 ? 0 : latencyMs / calls)} on average`;
  });
}
