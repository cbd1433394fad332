/** `dlgforge attach`: follows a run from any machine, with or without its files, until its own end. */
import type { RunEnd } from '../../actors/messages.ts';
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { runId as toRunId, type RunId } from '../../kernel/ids.ts';
import type { RunRecord, Store } from '../../ports/store.ts';
import { noSuchRun } from '../../store/store-errors.ts';
import { followRun, lastEventSeq, type NumberedRunEvent } from './follow.ts';
import { openRunFiles } from './run-files.ts';
import { openStoreOfRuns, type StoreFlags } from './runs-store.ts';

export interface AttachOptions {
  /** Null: the run that is on, or the latest one. */
  readonly runId: string | null;
  readonly from: 'start' | 'now';
  /** Absolute; null: no files are written here. */
  readonly outputDir: string | null;
  readonly command: string;
  /** Aborts when the person detaches; the run goes on. */
  readonly detach: AbortSignal;
  readonly onStart: (run: RunRecord) => void;
  readonly onEvent: (event: NumberedRunEvent) => void;
  /** What is waited for, and what goes wrong without ending it. */
  readonly onWarning: (text: string) => void;
}

export type Attached =
  | { readonly type: 'ended'; readonly runId: RunId; readonly end: RunEnd }
  | { readonly type: 'detached'; readonly runId: RunId };

/** @throws DlgforgeError as `attachRun` and the look-up of the store do. */
export async function attachTo(
  flags: StoreFlags,
  environment: Environment,
  options: AttachOptions,
): Promise<Attached> {
  const { store, close } = await openStoreOfRuns(flags, environment, options.onWarning);
  try {
    if (store === null) throw noSuchRun(options.runId ?? '(latest)');
    return await attachRun(store, options);
  } finally {
    await close();
  }
}

/** @throws DlgforgeError `resume` when there is no such run, `output` when its files cannot be written here. */
async function attachRun(store: Store, options: AttachOptions): Promise<Attached> {
  const { detach, outputDir, command, onWarning } = options;
  const record = await runToFollow(store, options.runId);
  options.onStart(record);
  await using cleanUp = new AsyncDisposableStack();
  const files =
    outputDir === null ? null : await openRunFiles({ store, run: record, outputDir, command, onWarning });
  if (files !== null) cleanUp.defer(() => files.close());
  const after = options.from === 'start' ? 0 : await lastEventSeq(store, record.id);
  const events = followRun({ store, runId: record.id, after, signal: detach });
  for (;;) {
    const next = await events.next();
    if (next.done === true) {
      await files?.finish();
      const end = next.value;
      return end === null ? { type: 'detached', runId: record.id } : { type: 'ended', runId: record.id, end };
    }
    options.onEvent(next.value);
    if (next.value.event.type === 'ConversationSettled') files?.wake();
  }
}

/** @throws DlgforgeError `resume`, or `usage` when it is not clear which run is meant. */
async function runToFollow(store: Store, id: string | null): Promise<RunRecord> {
  if (id !== null) {
    const named = await store.getRun(toRunId(id));
    if (named === null) throw noSuchRun(id);
    return named;
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
    throw new DlgforgeError('resume', 'There are no runs yet. Start one: dlgforge run config.yaml.');
  return record;
}
