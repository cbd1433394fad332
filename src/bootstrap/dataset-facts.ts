/** What the rows of a dataset do not say: its runs, what they cost, how much of the documents it covers. */
import type { JudgePass } from '../dialogue/judge-pass.ts';
import {
  coverageStats,
  type CoverageStats,
  type ModelUsage,
  type UsageStats,
} from '../export/dataset/dataset-stats.ts';
import { rounded } from '../export/dataset/distributions.ts';
import { ledgerCoverage } from '../export/dataset/ledger-coverage.ts';
import { publicModelName } from '../export/dataset/model-name.ts';
import { messageOf } from '../kernel/errors.ts';
import type { CallTotals, Store } from '../ports/store.ts';
import { knownDocuments } from '../retrieval/known-documents.ts';
import { openStoreOfProject } from './cluster/runs-store.ts';
import { ownDatasetId } from './dataset.ts';
import type { Project } from './project.ts';
import { hasStore } from './project-store.ts';
import { runsOf, type RunSummary } from './runs.ts';

export interface RunFacts {
  readonly runs: readonly RunSummary[];
  readonly totals: readonly CallTotals[];
  /** Whose verdicts the files show; null while they show what the runs judged themselves. */
  readonly shownPass: JudgePass | null;
}

/**
 * The runs of the dataset in this folder; null when the store cannot be asked or does not know it, with a
 * warning when it should: an export is worth having without these figures.
 */
export async function runFactsOf(project: Project, sourceDir: string): Promise<RunFacts | null> {
  if (!hasStore(project) && !project.config.run.distributed.enabled) return null;
  try {
    await using cleanUp = new AsyncDisposableStack();
    const opened = await openStoreOfProject(project);
    cleanUp.defer(() => opened.close());
    return opened.store === null ? null : await runFacts(opened.store, sourceDir);
  } catch (error) {
    project.logger.log(
      'warn',
      'export',
      `[export] the store was not asked about the runs: ${messageOf(error)}`,
    );
    return null;
  }
}

/** All runs of the dataset, and what was judged later; null when the store knows of neither. */
export async function runFacts(store: Store, sourceDir: string): Promise<RunFacts | null> {
  const datasetId = await ownDatasetId(store, sourceDir);
  if (datasetId === null) return null;
  const ids = (await store.listRuns()).filter((run) => run.datasetId === datasetId).map(({ id }) => id);
  const runs = await runsOf(store, new Set<string>(ids));
  const totals: CallTotals[] = [...(await store.verdicts.callTotals(datasetId))];
  for (const id of ids) totals.push(...(await store.callTotals(id)));
  if (runs.length + totals.length === 0) return null;
  return { runs, totals, shownPass: (await store.verdicts.shown(datasetId))?.pass ?? null };
}

/** Per million tokens. */
interface Price {
  readonly input: number;
  /** Of prompt tokens that came from a cache; without it they cost what others do. */
  readonly cached?: number;
  readonly output: number;
}

/** @param prices `saving.export.prices`, checked when the configuration was. */
export function usageStats(
  { runs, totals }: Pick<RunFacts, 'runs' | 'totals'>,
  prices: Readonly<Record<string, unknown>>,
): UsageStats {
  const groups = Map.groupBy(totals, ({ role, model }) => JSON.stringify([role, model]));
  const models = [...groups.values()]
    .map((rows) => modelUsage(rows, prices))
    .toSorted((a, b) => (a.role === b.role ? (a.model < b.model ? -1 : 1) : a.role < b.role ? -1 : 1));
  const sum = (of: (row: ModelUsage) => number): number => models.reduce((total, row) => total + of(row), 0);
  return {
    runs: runs.length,
    calls: sum((row) => row.calls),
    prompt_tokens: sum((row) => row.prompt_tokens),
    cached_tokens: sum((row) => row.cached_tokens),
    completion_tokens: sum((row) => row.completion_tokens),
    models,
    // A sum over some of the models would pass for the whole.
    cost:
      models.length === 0 || models.some(({ cost }) => cost === null)
        ? null
        : rounded(sum((row) => row.cost ?? 0)),
  };
}

function modelUsage(rows: readonly CallTotals[], prices: Readonly<Record<string, unknown>>): ModelUsage {
  const sum = (of: (row: CallTotals) => number): number => rows.reduce((total, row) => total + of(row), 0);
  const model = rows[0]?.model ?? '';
  const prompt = sum((row) => row.promptTokens);
  const cached = sum((row) => row.cachedTokens);
  const completion = sum((row) => row.completionTokens);
  const price = Object.hasOwn(prices, model) ? (prices[model] as Price) : null;
  const cost =
    price === null
      ? null
      : ((prompt - cached) * price.input +
          cached * (price.cached ?? price.input) +
          completion * price.output) /
        1_000_000;
  return {
    model: publicModelName(model),
    role: rows[0]?.role ?? '',
    calls: sum((row) => row.calls),
    prompt_tokens: prompt,
    cached_tokens: cached,
    completion_tokens: completion,
    cost: cost === null ? null : rounded(cost),
  };
}

/** By the ledger in the folder and the project's index; null without a ledger. */
export async function coverageOf(project: Project, sourceDir: string): Promise<CoverageStats | null> {
  const used = await ledgerCoverage(sourceDir);
  if (used === null) return null;
  try {
    return coverageStats(used, await knownDocuments(project.folders.index));
  } catch (error) {
    project.logger.log(
      'warn',
      'export',
      `[export] the index was not read, so it is not known how much of the documents is covered: ${messageOf(error)}`,
    );
    return coverageStats(used, null);
  }
}
