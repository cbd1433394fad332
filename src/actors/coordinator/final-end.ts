/** What a run came to when every language has ended, in words that say what to change. */
import type { LanguageProgress } from '../../dialogue/schedule.ts';
import type { RunEnd } from '../messages.ts';
import type { LanguageRecord } from './record.ts';

export function finalEnd(
  progress: readonly LanguageProgress[],
  languages: readonly string[],
  records: readonly LanguageRecord[],
): RunEnd {
  const failed = progress.filter(({ ended }) => ended === 'failed');
  if (failed.length === 0) return { type: 'completed' };
  const parts = failed.map(({ languageIndex, committed, target, consecutiveDrops }) => {
    const last = records[languageIndex]?.lastDrop;
    return `${languages[languageIndex]}: stopped at ${committed} of ${target} after ${consecutiveDrops} conversations in a row were dropped, the last one for ${last?.reason} (${last?.detail})`;
  });
  const reasons = failed.flatMap(({ languageIndex }) => records[languageIndex]?.lastDrop?.reason ?? []);
  return {
    type: 'failed',
    trouble: { code: 'run_failed', message: `${parts.join('; ')}. ${adviceFor(new Set(reasons))}` },
  };
}

/** What a person can change, by the reason of the drops. */
function adviceFor(reasons: ReadonlySet<string>): string {
  if (reasons.has('dedup_exhausted')) {
    return 'The model keeps asking questions that are already in the dataset: add documents, raise coverage.question_dedup_retries or the temperature of the user role, or lower run.total_samples; then run the same command again.';
  }
  if (reasons.has('model_refused'))
    return 'The endpoint refuses these requests: see logs/llm.log, change the model or its settings, then run the same command again.';
  if (reasons.has('crashed')) return 'See logs/run.log for the failure, then run the same command again.';
  return 'The model does not answer with the JSON that is asked for: see logs/llm.log, choose a model that can, or raise llm.agents.<role>.max_tokens; then run the same command again.';
}
