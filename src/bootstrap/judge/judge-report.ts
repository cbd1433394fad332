/** What a judge's pass came to. What was paid is from the store, so it is right after any number of resumes. */
import type { BatchCounts } from '../../actors/judging/batch/run-batched-pass.ts';
import type { PassEnd } from '../../actors/judging/run-judge-pass.ts';
import type { Granularity, JudgePass } from '../../dialogue/judge-pass.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { DatasetId } from '../../kernel/ids.ts';
import type { CallTotals, Store } from '../../ports/store.ts';
import type { Project } from '../project.ts';
import type { CallFigures, JudgeReport } from '../run-report.ts';
import type { ScoreTally, Survey } from './judge-plan.ts';

export interface PassReport {
  readonly status: PassEnd['type'];
  readonly trouble: string | null;
  readonly datasetId: string;
  readonly pass: {
    readonly id: string;
    readonly granularity: Granularity;
    readonly model: string;
    readonly promptVersion: string;
  };
  /** Of the dataset and its folder. */
  readonly conversations: number;
  readonly languages: Survey['languages'];
  /** Asked for by this command. */
  readonly asked: number;
  /** Given in this command; `judge.verdicts` counts those from before as well. */
  readonly given: number;
  /** Conversations that `--limit` or an interruption left. */
  readonly left: number;
  /** Files of 0.1.0 that could not be judged. */
  readonly skipped: number;
  readonly judge: JudgeReport;
  /** Of the pass, over all commands. */
  readonly models: readonly CallTotals[];
  readonly calls: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Of this process, by cause. */
  readonly retries: CallFigures['retries'];
  readonly endpoints: CallFigures['endpoints'];
  /** Null without `--batch`. */
  readonly batches: BatchCounts | null;
  /** True when the files show this pass. */
  readonly published: boolean;
  readonly wallMs: number;
  readonly outputDir: string;
  readonly logsDir: string;
  readonly rehearsal: boolean;
}

/** Counts of this command as it goes on. */
export interface PassCounts {
  given: number;
  without: number;
  readonly skipped: Set<string>;
  readonly tally: ScoreTally;
  readonly batches: BatchCounts;
}

export interface PassReportOptions {
  readonly project: Project;
  readonly store: Pick<Store, 'verdicts'>;
  readonly datasetId: DatasetId;
  readonly pass: JudgePass;
  readonly end: PassEnd;
  readonly survey: Survey;
  readonly counts: PassCounts;
  readonly batch: boolean;
  /** Conversations of which nothing is missing any more. */
  readonly finished: number;
  readonly figures: CallFigures | null;
  readonly published: boolean;
  readonly wallMs: number;
}

export async function reportPass(options: PassReportOptions): Promise<PassReport> {
  const { project, store, datasetId, pass, end, survey, counts, figures } = options;
  const models = await store.verdicts.callTotals(datasetId, pass.id);
  const sum = (of: (row: CallTotals) => number): number => models.reduce((total, row) => total + of(row), 0);
  return {
    status: end.type,
    trouble: end.type === 'failed' ? messageOf(end.error) : null,
    datasetId,
    pass: {
      id: pass.id,
      granularity: pass.granularity,
      model: pass.model,
      promptVersion: pass.promptVersion,
    },
    conversations: survey.conversations,
    languages: survey.languages,
    asked: counts.given + counts.without,
    given: counts.given,
    left: survey.left + survey.selected - options.finished,
    skipped: counts.skipped.size,
    judge: { ...counts.tally.read(), without: counts.without },
    models,
    calls: sum((row) => row.calls),
    promptTokens: sum((row) => row.promptTokens),
    cachedTokens: sum((row) => row.cachedTokens),
    completionTokens: sum((row) => row.completionTokens),
    retries: figures?.retries ?? {},
    endpoints: figures?.endpoints ?? [],
    batches: options.batch ? counts.batches : null,
    published: options.published,
    wallMs: options.wallMs,
    outputDir: project.folders.output,
    logsDir: project.folders.logs,
    rehearsal: models.some((row) => row.rehearsal),
  } as PassReport;
}
