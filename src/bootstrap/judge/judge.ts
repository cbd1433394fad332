/**
 * `dlgforge judge`: verdicts on conversations that exist. Prepare, see what is missing, ask for it, and then let
 * the files show the pass, all at once.
 *
 * - A verdict is recorded before it counts, and its answer is journalled before that: whatever happens, it is not
 *   paid for again (I1).
 * - Files never show verdicts of two passes. They follow when the pass ends, or is stopped; what a kill leaves
 *   undone is done by the next command that opens them.
 */
import { liveAnswers } from '../../actors/judging/live-answers.ts';
import { type PassEnd, runJudgePass } from '../../actors/judging/run-judge-pass.ts';
import { canonicalJson } from '../../kernel/hash.ts';
import { runId } from '../../kernel/ids.ts';
import { DlgforgeError, isDlgforgeError } from '../../kernel/errors.ts';
import { prepareBackend } from '../prepare-run.ts';
import type { Project } from '../project.ts';
import type { CallFigures } from '../run-report.ts';
import { startJudgeServers } from '../vllm/judge-servers.ts';
import { openJudgeCalls } from './judge-calls.ts';
import type { JudgeOptions } from './judge-options.ts';
import {
  checkBatchable,
  endOpenBatches,
  judgeInBatches,
  Looks,
  noBatches,
  type PassParts,
} from './judge-batches.ts';
import {
  languageKey,
  type Planned,
  planned,
  ScoreTally,
  type Selection,
  survey,
  type Survey,
  unitsOf,
} from './judge-plan.ts';
import { type PassCounts, type PassReport, reportPass } from './judge-report.ts';
import { type Candidate, candidates } from './judged-conversations.ts';
import { PassProgress } from './pass-progress.ts';
import { nothingToJudge, type PreparedJudge, prepareJudge } from './prepare-judge.ts';

export type { JudgeOptions } from './judge-options.ts';
export type { PassReport } from './judge-report.ts';

/**
 * @throws DlgforgeError when the pass cannot start or the files cannot be written. One that started and did not
 * reach its end is a report with that status.
 */
export async function judgeProject(project: Project, options: JudgeOptions): Promise<PassReport> {
  const startedAtMs = Date.now();
  if (options.batch) checkBatchable(project);
  await using cleanUp = new AsyncDisposableStack();
  const prepared = await prepareJudge(project, options, cleanUp);
  const { store, datasetId, lease, pass, projection } = prepared;

  const rejudging = options.rejudge ? canonicalJson(options.languages.map(languageKey).toSorted()) : null;
  const begin = () => store.verdicts.begin(lease, datasetId, pass, rejudging);
  const selection: Selection = {
    verdicts: store.verdicts,
    datasetId,
    pass,
    rejudgeRound: options.rejudge ? (await begin()).round : null,
    languages: options.languages,
    limit: options.limit,
  };
  const counts: PassCounts = {
    given: 0,
    without: 0,
    skipped: new Set(),
    tally: new ScoreTally(),
    batches: noBatches(),
  };
  options.observer.status('looking for what is to be judged');
  const found = await surveyed(project, prepared, selection, counts);
  options.observer.status(null);
  tellSkipped(project, counts);

  const shown = await store.verdicts.shown(datasetId);
  const isShown = shown?.pass.id === pass.id;
  const isChanged = found.missing > 0 || options.rejudge || !isShown;
  if (isChanged && !options.rejudge) await begin();
  const { end, figures, finished } =
    found.missing === 0
      ? NOTHING_TO_ASK
      : await judgeMissing(project, prepared, options, selection, found, counts);
  if (isDlgforgeError(endError(end), 'stale_epoch')) throw takenOver();

  const hasVerdicts = counts.given + counts.without + counts.tally.read().verdicts > 0;
  const publishes = end.type !== 'failed' && hasVerdicts;
  const rejudged = options.rejudge && end.type === 'completed' && found.left === 0;
  if (isChanged && (publishes || isShown)) {
    options.observer.status('writing the files');
    if (publishes) await store.verdicts.publish(lease, datasetId, pass.id, rejudged);
    await projection.catchUp();
    options.observer.status(null);
  }
  return await reportPass({
    project,
    store,
    datasetId,
    pass,
    end,
    survey: found,
    counts,
    batch: options.batch,
    finished,
    figures,
    published: isShown || publishes,
    wallMs: Date.now() - startedAtMs,
  });
}

const endError = (end: PassEnd): unknown => (end.type === 'failed' ? end.error : null);

const takenOver = (): DlgforgeError =>
  new DlgforgeError(
    'held',
    'Another process has taken this dataset over, because this one was frozen or cut off from the database. Run the same command again when that one has ended: no verdict that was given is lost or paid for again.',
  );

function candidatesOf(
  { folders }: Project,
  { store, datasetId }: PreparedJudge,
  counts: PassCounts,
): AsyncGenerator<Candidate> {
  return candidates({
    store,
    datasetId,
    outputDir: folders.output,
    onSkipped: (name, reason) => counts.skipped.add(`${name}: ${reason}`),
  });
}

const NOTHING_TO_ASK: Work = { end: { type: 'completed' }, figures: null, finished: 0 };

/** @throws DlgforgeError `output` when nothing can be judged, `usage` when no conversation is in the languages. */
async function surveyed(
  project: Project,
  prepared: PreparedJudge,
  selection: Selection,
  counts: PassCounts,
): Promise<Survey> {
  const languages = new Map<string, string>();
  let conversations = 0;
  async function* counted(): AsyncGenerator<Candidate> {
    for await (const candidate of candidatesOf(project, prepared, counts)) {
      conversations += 1;
      const { language } = candidate.payload;
      languages.set(languageKey(language), language);
      yield candidate;
    }
  }
  const first = project.config.run.target_languages;
  const found = await survey(planned(counted(), selection), first, counts.tally);
  if (conversations === 0) throw nothingUsable(project, counts);
  const unknown = selection.languages.filter((language) => !languages.has(languageKey(language)));
  if (unknown.length > 0) {
    throw new DlgforgeError(
      'usage',
      `--language ${unknown.join(', ')}: no conversation is in it. There are conversations in ${[...languages.values()].join(', ')}.`,
    );
  }
  return { ...found, conversations };
}

function nothingUsable({ folders }: Project, { skipped }: PassCounts): DlgforgeError {
  if (skipped.size === 0) return nothingToJudge(folders.output);
  const [example] = skipped;
  return new DlgforgeError(
    'output',
    `None of the ${skipped.size} conversation files under ${folders.output}/conversations can be judged, for example ${example}. Restore them from a copy, or point saving.output_dir to another folder.`,
  );
}

function tellSkipped({ logger }: Project, { skipped }: PassCounts): void {
  for (const text of skipped) logger.log('warn', 'judge', `[judge] skipped ${text}`);
}

interface Work {
  readonly end: PassEnd;
  readonly figures: CallFigures | null;
  /** Conversations that were finished. */
  readonly finished: number;
}

async function judgeMissing(
  project: Project,
  prepared: PreparedJudge,
  options: JudgeOptions,
  selection: Selection,
  found: Survey,
  counts: PassCounts,
): Promise<Work> {
  await using cleanUp = new AsyncDisposableStack();
  const { store, datasetId, lease, pass, prompts, requirements, holdLost } = prepared;
  options.observer.status('preparing the judge');
  const servers = await startJudgeServers(project, requirements, options);
  if (servers !== null) cleanUp.defer(() => servers.close());
  const backend = await prepareBackend(project, requirements, store);
  cleanUp.defer(() => backend.close());
  let changed = (): void => undefined;
  await servers?.follow(backend, () => changed());
  const opened = openJudgeCalls(project, backend.port);
  changed = () => opened.endpointsChanged();
  cleanUp.defer(() => opened.close());
  options.observer.status(null);

  const progress = new PassProgress(found);
  options.observer.started({
    runId: runId(pass.id),
    resumed: false,
    title: `[judge] ${found.missing} verdicts on ${found.selected} conversations, by ${pass.granularity} (${pass.model})`,
    words: { done: 'judged', lost: 'without a verdict', rate: 'verdicts' },
    languages: found.languages.map(({ language }) => language),
    outputDir: project.folders.output,
    view: async () => progress.view(),
    calls: opened.calls,
  });
  const lost = servers === null ? holdLost : AbortSignal.any([holdLost, servers.lost]);
  const stopping = stopSignals(options.stop, lost, project.config.run.shutdown_grace_s * 1000);
  cleanUp.defer(() => stopping.dispose());
  const looks = new Looks(options.limit);
  async function* look(): AsyncGenerator<Planned> {
    const plans = planned(candidatesOf(project, prepared, counts), { ...selection, limit: null });
    for await (const plan of looks.ours(plans)) {
      progress.opened(plan);
      yield plan;
    }
  }
  const parts: PassParts = {
    datasetId,
    pass: pass.id,
    prompts,
    usedName: (endpoint) => backend.port.usedName('judge', endpoint),
    record: (verdict) => store.verdicts.record(lease, datasetId, pass.id, verdict),
    onJudged(unit, stored) {
      progress.judged(unit, stored);
      looks.judged(stored);
      if (stored.verdict === null) counts.without += 1;
      else {
        counts.given += 1;
        counts.tally.add(stored.verdict);
      }
    },
    stop: stopping.admission,
    signal: stopping.signal,
    logger: project.logger,
  };
  const judging = { project, store, backend, observer: options.observer, parts, counts: counts.batches };
  const askLive = async (): Promise<PassEnd> => {
    const ended = await endOpenBatches(judging);
    if (ended.type !== 'completed') return ended;
    const answers = liveAnswers({ ...opened, ...stopping });
    return await runJudgePass({ ...parts, journal: store.journal, units: unitsOf(look()), answers });
  };
  const end = options.batch ? await judgeInBatches(judging, look) : await askLive();
  const figures = await opened.calls.stats().catch(() => null);
  if (holdLost.aborted) throw takenOver();
  if (servers?.lost.aborted === true && end.type !== 'completed')
    return { end: { type: 'failed', error: servers.lost.reason }, figures, finished: progress.finished };
  return { end, figures, finished: progress.finished };
}

interface StopSignals {
  /** Aborts when nothing new may be asked. */
  readonly admission: AbortSignal;
  /** Aborts what is in flight. */
  readonly signal: AbortSignal;
  dispose(): void;
}

/** After a request to stop, calls in flight have the grace to finish; a lost hold ends them at once. */
function stopSignals(stop: AbortSignal, holdLost: AbortSignal, graceMs: number): StopSignals {
  const admission = AbortSignal.any([stop, holdLost]);
  const late = new AbortController();
  let timer: NodeJS.Timeout | null = null;
  const onStop = (): void => {
    timer = setTimeout(() => late.abort(), graceMs);
  };
  if (stop.aborted) onStop();
  else stop.addEventListener('abort', onStop, { once: true });
  return {
    admission,
    signal: AbortSignal.any([late.signal, holdLost]),
    dispose() {
      stop.removeEventListener('abort', onStop);
      if (timer !== null) clearTimeout(timer);
    },
  };
}
