/** What a run came to: from the store, so that it is right after any number of resumes. */
import type { CallStats } from '../actors/endpoint-router/call-stats.ts';
import type { EndpointStats } from '../actors/endpoint-router/endpoint-state.ts';
import { type EarlierCounts, withEarlier } from '../actors/earlier-counts.ts';
import type { RunEnd, RunTrouble } from '../actors/messages.ts';
import { samplesPerLanguage } from '../config/roles.ts';
import { payloadOf } from '../export/dataset-rows.ts';
import type { RunId } from '../kernel/ids.ts';
import type { CallTotals, Dataset, RunCounts, Store } from '../ports/store.ts';
import type { Project } from './project.ts';
import type { ExportFormat } from '../export/dataset/format-writers.ts';

export interface LanguageReport {
  readonly language: string;
  readonly target: number;
  readonly committed: number;
  readonly dropped: number;
  readonly turns: number;
  readonly dropReasons: Readonly<Record<string, number>>;
}

export interface JudgeReport {
  readonly verdicts: number;
  /** Turns or conversations that the judge was asked about and gave no verdict on. */
  readonly without: number;
  readonly mean: number | null;
  /** Verdicts by rounded score, 0 … 10. */
  readonly distribution: readonly number[];
}

export interface RunReport {
  readonly runId: string;
  readonly datasetId: string;
  readonly status: RunEnd['type'];
  readonly trouble: RunTrouble | null;
  readonly resumed: boolean;
  readonly languages: readonly LanguageReport[];
  readonly conversations: number;
  readonly turns: number;
  readonly calls: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** By what was called. */
  readonly models: readonly CallTotals[];
  /** Of this process, by cause. */
  readonly retries: CallStats['retries'];
  readonly endpoints: readonly EndpointStats[];
  /** Null when nothing is judged online. */
  readonly judge: JudgeReport | null;
  /** Milliseconds of this process. */
  readonly wallMs: number;
  readonly outputDir: string;
  readonly logsDir: string;
  /** True when any answer came from the rehearsal backend. */
  readonly rehearsal: boolean;
  /** What became of `saving.export.formats`; null when none are configured, or the run is not complete. */
  readonly exports: FormatsOutcome | null;
  /** What became of publishing at the end of the run; null when none was wanted, or the run is not complete. */
  readonly publication: Publication | null;
}

/** What became of the formats at the end of a run. */
export type FormatsOutcome =
  | {
      readonly type: 'written';
      readonly folder: string;
      readonly formats: readonly ExportFormat[];
      readonly records: number;
    }
  | { readonly type: 'failed'; readonly message: string; readonly formats: readonly ExportFormat[] };

export type Publication =
  | {
      readonly type: 'published';
      readonly repoId: string;
      readonly url: string;
      /** Null when the Hub held the same already. */
      readonly commit: string | null;
    }
  | { readonly type: 'skipped'; readonly reason: string }
  /** The command publishes without another run. */
  | { readonly type: 'failed'; readonly message: string; readonly command: string };

/** Calls as this process, or the cluster, counts them; the store knows what was paid for. */
export type CallFigures = CallStats & { readonly endpoints: readonly EndpointStats[] };

/** A run that goes on without whoever submitted it. */
export interface DetachedRun {
  readonly status: 'detached';
  readonly runId: string;
}

export interface ReportOptions {
  readonly project: Project;
  readonly store: Store;
  readonly dataset: Dataset;
  readonly runId: RunId;
  /** What 0.1.0 had done of this run; it counts. */
  readonly earlier: readonly EarlierCounts[];
  readonly end: RunEnd;
  readonly stats: CallFigures;
  readonly resumed: boolean;
  readonly wallMs: number;
}

export async function reportRun(options: ReportOptions): Promise<RunReport> {
  const { project, store, dataset, runId, end, stats } = options;
  const [stored, models] = await Promise.all([store.runCounts(runId), store.callTotals(runId)]);
  const counts = withEarlier(stored, options.earlier);
  const languages = project.config.run.target_languages.map((language, languageIndex) =>
    languageReport(
      language,
      samplesPerLanguage(project.config),
      counts.find((count) => count.languageIndex === languageIndex),
    ),
  );
  const sum = (of: (row: CallTotals) => number): number => models.reduce((total, row) => total + of(row), 0);
  return {
    runId,
    datasetId: dataset.id,
    status: end.type,
    trouble: end.type === 'failed' ? end.trouble : null,
    resumed: options.resumed,
    languages,
    conversations: languages.reduce((total, language) => total + language.committed, 0),
    turns: languages.reduce((total, language) => total + language.turns, 0),
    calls: sum((row) => row.calls),
    promptTokens: sum((row) => row.promptTokens),
    cachedTokens: sum((row) => row.cachedTokens),
    completionTokens: sum((row) => row.completionTokens),
    models,
    retries: stats.retries,
    endpoints: stats.endpoints,
    judge:
      project.config.judge.enabled && project.config.judge.mode === 'online'
        ? await judgeReport(store, dataset, runId)
        : null,
    wallMs: options.wallMs,
    outputDir: project.folders.output,
    logsDir: project.folders.logs,
    rehearsal: models.some((row) => row.rehearsal),
    exports: null,
    publication: null,
  };
}

export function languageReport(
  language: string,
  target: number,
  counts: RunCounts | undefined,
): LanguageReport {
  return {
    language,
    target,
    committed: counts?.committed ?? 0,
    dropped: counts?.dropped ?? 0,
    turns: counts?.turns ?? 0,
    dropReasons: counts?.dropReasons ?? {},
  };
}

async function judgeReport(store: Store, dataset: Dataset, runId: RunId): Promise<JudgeReport> {
  const distribution = Array.from({ length: 11 }, () => 0);
  let verdicts = 0;
  let without = 0;
  let total = 0;
  const take = (verdict: unknown): void => {
    const score = (verdict as { readonly score?: unknown } | null)?.score;
    if (typeof score !== 'number') {
      without += 1;
      return;
    }
    const bucket = Math.min(10, Math.max(0, Math.round(score)));
    verdicts += 1;
    total += score;
    distribution[bucket] = (distribution[bucket] ?? 0) + 1;
  };
  for await (const conversation of store.committed(dataset.id, 0, { runId })) {
    if (conversation.status !== 'committed') continue;
    const payload = payloadOf(conversation);
    if (payload.inputs.judge_granularity === 'conversation') take(payload.conversationJudge);
    else for (const turn of payload.turns) take(turn.verdict);
  }
  return { verdicts, without, mean: verdicts === 0 ? null : total / verdicts, distribution };
}
