/** Follows a run of the cluster from here: progress, files, and its end, whoever leads it. */
import { runSingleton } from '../../actors/directory.ts';
import type { RunEnd } from '../../actors/messages.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { RunRecord } from '../../ports/store.ts';
import type { RunEvent, UnknownRunEvent } from '../../protocol/run-events.ts';
import { inputsBase } from '../dialogue-settings.ts';
import { openFiles } from '../files.ts';
import type { Project } from '../project.ts';
import type { StoredPlan } from '../run-record.ts';
import type { RunOptions } from '../run-options.ts';
import { reportRun, type RunReport } from '../run-report.ts';
import { runView } from './cluster-view.ts';
import { holdFolder } from './folder-hold.ts';
import { followRun } from './follow.ts';
import type { ClusterNode } from './join.ts';

export interface FollowToEndOptions {
  readonly project: Project;
  readonly node: ClusterNode;
  readonly options: RunOptions;
  readonly runId: RunId;
  readonly resumed: boolean;
  /** Events up to this one belong to earlier parts of the run. */
  readonly after: number;
}

const CATCH_UP_PAUSE_MS = 300;
const LOOK_MS = 1_000;
/** A run without a leader for this long is said to wait for one. */
const LEADERLESS_MS = 3_000;

/** @throws DlgforgeError `output` when the files cannot be written; the run is not harmed by it. */
export async function followToEnd(follow: FollowToEndOptions): Promise<RunReport> {
  const { project, node, options, runId, resumed } = follow;
  const { store, logger } = node;
  const startedAtMs = Date.now();
  await using cleanUp = new AsyncDisposableStack();
  const record = (await store.getRun(runId)) as RunRecord;
  const dataset = await store.openDataset(record.datasetId, project.folders.output);
  const folder = await holdFolder(store, project.folders.output, options.command);
  cleanUp.defer(() => folder.release());
  const files = await openFiles(project, { store, dataset, runId, inputs: inputsBase(project.config) });
  cleanUp.defer(() => files.close());
  await files.catchUp();
  await files.writeState(resumed ? 'resumed' : 'started');

  const view = runView(node, runId);
  options.observer.started({
    runId,
    resumed,
    languages: project.config.run.target_languages,
    outputDir: project.folders.output,
    view: () => view.view(),
    calls: { stats: () => view.figures() },
  });
  const writer = keepWriting(
    () => files.catchUp(),
    (error) => logger.log('warn', 'export', `[export] ${messageOf(error)}`),
  );
  cleanUp.defer(() => writer.stop());
  const end = await untilEnd(follow, (event) => {
    say(project, event);
    if (event.type === 'ConversationSettled') writer.wake();
    if (event.type === 'RunPaused') options.observer.status(`paused: ${event.reason}`);
    if (event.type === 'RunResumed') options.observer.status(null);
  });

  options.observer.status('writing the files');
  const figures = await view.figures().catch(() => view.lastFigures);
  await writer.stop();
  await files.catchUp();
  await files.writeState(end.type === 'completed' ? 'completed' : 'in_progress');
  options.observer.status(null);
  return await reportRun({
    project,
    store,
    dataset,
    runId,
    earlier: (record.plan as StoredPlan).earlier ?? [],
    end,
    stats: figures,
    resumed,
    wallMs: Date.now() - startedAtMs,
  });
}

/** The end as its events say it; the run's status tells when an event was missed because nobody could write it. */
async function untilEnd(
  { node, options, runId, after }: FollowToEndOptions,
  onEvent: (event: RunEvent | UnknownRunEvent) => void,
): Promise<RunEnd> {
  const { store, membership } = node;
  const over = new AbortController();
  const view = runView(node, runId);
  let end: RunEnd | null = null;
  let leaderSeenAtMs = Date.now();
  let saidLeaderless = false;

  const look = async (): Promise<void> => {
    if (options.stop.aborted) view.stop();
    if (membership.leaderOf(runSingleton(runId)) !== null) {
      leaderSeenAtMs = Date.now();
      if (saidLeaderless) options.observer.status(null);
      saidLeaderless = false;
    } else if (Date.now() - leaderSeenAtMs > LEADERLESS_MS && !saidLeaderless) {
      saidLeaderless = true;
      options.observer.status('waiting for a node that leads the run');
    }
    const record = await store.getRun(runId);
    if (record === null || record.status === 'running' || record.status === 'paused') return;
    end ??= endOf(record);
    // What was written last is still to be read.
    setTimeout(() => over.abort(), LOOK_MS);
  };
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_MS);
  const stopNow = (): void => view.stop();
  options.stop.addEventListener('abort', stopNow, { once: true });
  try {
    for await (const { event } of followRun({ store, runId, after, signal: over.signal })) {
      onEvent(event);
      if (event.type === 'RunEnded') return event.end;
    }
    return end ?? { type: 'interrupted' };
  } finally {
    clearInterval(timer);
    options.stop.removeEventListener('abort', stopNow);
  }
}

export function endOf({ status, error }: Pick<RunRecord, 'status' | 'error'>): RunEnd {
  if (status === 'completed' || status === 'cancelled') return { type: status };
  if (status !== 'failed') return { type: 'interrupted' };
  return { type: 'failed', trouble: { code: 'run_failed', message: error ?? 'see the logs of the nodes' } };
}

/** What the log of a local run says too. */
function say({ logger }: Project, event: RunEvent | UnknownRunEvent): void {
  const tell = (level: 'info' | 'warn', text: string): void => logger.log(level, 'run', text);
  switch (event.type) {
    case 'ConversationSettled':
      if (event.outcome === 'committed')
        tell(
          'info',
          `[samples] ${event.language}: ${event.conversationId} committed, ${event.committed}/${event.target}`,
        );
      else
        tell(
          'warn',
          `[samples] ${event.language}: ${event.conversationId} dropped: ${event.reason} (${event.detail})`,
        );
      return;
    case 'CoordinatorStarted':
      return tell('info', `[run] led by ${event.node}`);
    case 'WorkerJoined':
      if (event.lacks.length > 0)
        tell(
          'warn',
          `[run] worker ${event.worker} takes no conversations: it lacks ${event.lacks.join(', ')}`,
        );
      return;
    case 'WorkerLost':
      return tell(
        'warn',
        `[run] worker ${event.worker} is lost; its ${event.conversations} conversations go on elsewhere`,
      );
    case 'RunPaused':
      return tell('info', `[run] paused: ${event.reason}`);
    case 'RunResumed':
      return tell('info', '[run] goes on');
    default:
  }
}

/** Many commits make one pass. */
function keepWriting(
  write: () => Promise<void>,
  failed: (error: unknown) => void,
): { wake(): void; stop(): Promise<void> } {
  let timer: NodeJS.Timeout | null = null;
  let underWay: Promise<void> = Promise.resolve();
  let wanted = false;
  let stopped = false;
  const pass = (): void => {
    timer = null;
    wanted = false;
    underWay = write()
      .catch(failed)
      .then(() => {
        if (wanted) arm();
      });
  };
  const arm = (): void => {
    if (timer === null && !stopped) timer = setTimeout(pass, CATCH_UP_PAUSE_MS);
  };
  return {
    wake() {
      wanted = true;
      arm();
    },
    async stop() {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
      await underWay;
    },
  };
}
