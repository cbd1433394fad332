/** `dlgforge attach`: follows a run from any machine, with or without its files, until its own end. */
import type { RunEnd } from '../../actors/messages.ts';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { runId as toRunId, type RunId } from '../../kernel/ids.ts';
import type { RunRecord, Store } from '../../ports/store.ts';
import { noSuchRun } from '../../store/store-errors.ts';
import { followRun, lastEventSeq, type NumberedRunEvent } from './follow.ts';
import { endOf } from './follow-to-end.ts';
import { openStoreOfRuns, type StoreFlags } from './runs-store.ts';
import { openRunFiles } from './run-files.ts';

export interface AttachOptions {
  readonly store: Store;
  /** Null: the run that is on, or the latest one. */
  readonly runId: string | null;
  readonly from: 'start' | 'now';
  /** Absolute; null: no files are written here. */
  readonly outputDir: string | null;
  readonly command: string;
  /** Aborts when the person detaches; the run goes on. */
  readonly detach: AbortSignal;
  readonly onEvent: (event: NumberedRunEvent) => void;
  readonly onStart: (run: RunRecord) => void;
}

export type Attached =
  | { readonly type: 'ended'; readonly runId: RunId; readonly end: RunEnd }
  | { readonly type: 'detached'; readonly runId: RunId };

const LOOK_MS = 1_000;

/** @throws DlgforgeError as `attachRun` and the look-up of the store do. */
export async function attachTo(
  flags: StoreFlags,
  environment: Environment,
  options: Omit<AttachOptions, 'store'>,
): Promise<Attached> {
  const { store, close } = await openStoreOfRuns(flags, environment);
  try {
    if (store === null) throw noSuchRun(options.runId ?? '(latest)');
    return await attachRun({ ...options, store });
  } finally {
    await close();
  }
}

/** @throws DlgforgeError `resume` when there is no such run, `output` when its files cannot be written here. */
export async function attachRun(options: AttachOptions): Promise<Attached> {
  const { store, detach } = options;
  const record = await runToFollow(store, options.runId);
  options.onStart(record);
  await using cleanUp = new AsyncDisposableStack();
  const files =
    options.outputDir === null
      ? null
      : await openRunFiles({ store, run: record, outputDir: options.outputDir, command: options.command });
  if (files !== null) cleanUp.defer(() => files.close());
  const after = options.from === 'start' ? 0 : await lastEventSeq(store, record.id);
  const over = new AbortController();
  const stop = (): void => over.abort();
  detach.addEventListener('abort', stop, { once: true });
  let final: RunEnd | null = null;
  let lastSeq = after;
  const timer = setInterval(() => {
    isOver(store, record.id, lastSeq).then(
      (end) => {
        if (end === null) return;
        final = end;
        stop();
      },
      // The store waits for its server and says so; the next look finds out.
      (error: unknown) => void messageOf(error),
    );
  }, LOOK_MS);
  try {
    for await (const event of followRun({ store, runId: record.id, after, signal: over.signal })) {
      lastSeq = event.seq;
      options.onEvent(event);
      if (event.event.type === 'ConversationSettled') files?.wake();
      // A resumed run has ended before; its last end is the one that no event follows.
      if (event.event.type === 'RunEnded') final = event.event.end;
      else if (event.event.type === 'CoordinatorStarted') final = null;
    }
  } finally {
    clearInterval(timer);
    detach.removeEventListener('abort', stop);
  }
  await files?.finish();
  if (final === null || detach.aborted) return { type: 'detached', runId: record.id };
  return { type: 'ended', runId: record.id, end: final };
}

/** The end of a run whose every event has been read; null while there may be more. */
async function isOver(store: Store, id: RunId, lastSeq: number): Promise<RunEnd | null> {
  const record = await store.getRun(id);
  if (record === null) return { type: 'interrupted' };
  if (record.status === 'running' || record.status === 'paused') return null;
  return (await lastEventSeq(store, id)) > lastSeq ? null : endOf(record);
}

/** @throws DlgforgeError `resume`. */
async function runToFollow(store: Store, id: string | null): Promise<RunRecord> {
  if (id !== null) {
    const record = await store.getRun(toRunId(id));
    if (record === null) throw noSuchRun(id);
    return record;
  }
  const active = await store.activeRuns();
  if (active.length > 1) {
    throw new DlgforgeError(
      'usage',
      `Several runs are on: ${active.map((run) => run.id).join(', ')}. Say which one: dlgforge attach <run-id>.`,
    );
  }
  const [only] = active;
  const record = only === undefined ? ((await store.listRuns())[0] ?? null) : await store.getRun(only.id);
  if (record === null)
    throw new DlgforgeError('resume', 'This cluster has no runs yet. Start one: dlgforge run config.yaml.');
  return record;
}
