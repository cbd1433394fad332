/** Follows a run of the cluster from here: progress, files, and its end, whoever leads it. */
import { runSingleton } from '../../actors/directory.ts';
import type { RunEnd } from '../../actors/messages.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { RunRecord } from '../../ports/store.ts';
import type { RunEvent, UnknownRunEvent } from '../../protocol/run-events.ts';
import type { Project } from '../project.ts';
import type { RunOptions } from '../run-options.ts';
import type { StoredPlan } from '../run-record.ts';
import { reportRun, type RunReport } from '../run-report.ts';
import { type ClusterRunView, runView } from './cluster-view.ts';
import { followRun } from './follow.ts';
import type { ClusterNode } from './join.ts';
import { whatServersDo } from '../vllm/shown-replicas.ts';
import { keepWriting } from './keep-writing.ts';
import type { Output } from './output.ts';

export interface FollowToEndOptions {
  readonly project: Project;
  readonly node: ClusterNode;
  readonly options: RunOptions;
  readonly runId: RunId;
  readonly resumed: boolean;
  /** Events up to this one belong to earlier parts of the run. */
  readonly after: number;
  readonly output: Output;
}

const LOOK_MS = 1_000;
/** A run without a leader, or without a worker, for this long is said to wait for one. */
const ALONE_MS = 5_000;

/** @throws DlgforgeError `output` when the files cannot be written; the run is not harmed by it. */
export async function followToEnd(follow: FollowToEndOptions): Promise<RunReport> {
  const { project, node, options, runId, resumed, output } = follow;
  const { store, logger } = node;
  const startedAtMs = Date.now();
  await using cleanUp = new AsyncDisposableStack();
  const view = runView(node, runId);
  options.observer.started({
    runId,
    resumed,
    languages: project.config.run.target_languages,
    outputDir: project.folders.output,
    view: () => view.view(),
    calls: { stats: () => view.figures() },
  });
  let told = '';
  const writer = keepWriting(
    () => output.files.catchUp(),
    (error) => {
      if (messageOf(error) !== told) logger.log('warn', 'export', `[export] ${messageOf(error)}`);
      told = messageOf(error);
    },
  );
  cleanUp.defer(() => writer.stop());
  cleanUp.defer(watchOver(follow, view));

  const end = await untilEnd(follow, (event) => {
    say(project, event);
    if (event.type === 'ConversationSettled') writer.wake();
    if (event.type === 'RunPaused') options.observer.status(`paused: ${event.reason.split('\n', 1)[0]}`);
    if (event.type === 'RunResumed') options.observer.status(null);
  });

  options.observer.status('writing the files');
  const figures = await view.figures().catch(() => view.lastFigures);
  await writer.stop();
  await written(output, runId, end);
  options.observer.status(null);
  const record = (await store.getRun(runId)) as RunRecord;
  return await reportRun({
    project,
    store,
    dataset: output.dataset,
    runId,
    earlier: (record.plan as StoredPlan).earlier ?? [],
    end,
    stats: figures,
    resumed,
    wallMs: Date.now() - startedAtMs,
  });
}

async function untilEnd(
  { node: { store }, runId, after }: FollowToEndOptions,
  onEvent: (event: RunEvent | UnknownRunEvent) => void,
): Promise<RunEnd> {
  const events = followRun({ store, runId, after, signal: new AbortController().signal });
  for (;;) {
    const next = await events.next();
    if (next.done === true) return next.value ?? { type: 'interrupted' };
    onEvent(next.value.event);
  }
}

async function written({ files }: Output, runId: RunId, end: RunEnd): Promise<void> {
  try {
    await files.catchUp();
    await files.writeState(end.type === 'completed' ? 'completed' : 'in_progress');
  } catch (error) {
    throw new DlgforgeError(
      'output',
      `${messageOf(error)} The run itself has ended (${end.type}), and everything is kept: dlgforge export ${runId} --output-dir <folder>.`,
      { cause: error },
    );
  }
}

/** Passes a request to stop on until it is heard, and says what a run waits for that nobody works on. */
function watchOver({ node, options, runId }: FollowToEndOptions, view: ClusterRunView): () => void {
  const { membership } = node;
  let fineAtMs = Date.now();
  let said: string | null = null;
  const whatIsMissing = (): string | null => {
    const servers = whatServersDo(membership, runId);
    if (servers !== null) return servers;
    if (membership.leaderOf(runSingleton(runId)) === null) return 'waiting for a node that leads the run';
    const workers = membership.members().filter(({ card }) => card.kind === 'worker');
    if (workers.length === 0) return 'waiting for a worker: no node of the cluster brings one';
    const lacks = workers.map(({ card }) => card.status['lacks']);
    if (!lacks.every((list) => Array.isArray(list) && list.length > 0)) return null;
    return `waiting for a worker that has ${[...new Set(lacks.flat())].join(', ')}`;
  };
  const look = (): void => {
    if (options.stop.aborted) view.stop();
    const missing = membership.inContact() ? whatIsMissing() : null;
    if (missing === null) {
      fineAtMs = Date.now();
      if (said !== null) options.observer.status(null);
      said = null;
    } else if ((Date.now() - fineAtMs > ALONE_MS || missing.startsWith('replica')) && missing !== said) {
      said = missing;
      options.observer.status(missing);
    }
  };
  const timer = setInterval(look, LOOK_MS);
  options.stop.addEventListener('abort', look, { once: true });
  return () => {
    clearInterval(timer);
    options.stop.removeEventListener('abort', look);
  };
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
    case 'LanguageEnded':
      return tell(
        event.how === 'reached' ? 'info' : 'warn',
        `[language] ${event.language}: ${event.how === 'reached' ? 'done' : 'given up'}, ${event.committed}/${event.target}, dropped ${event.dropped}`,
      );
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
