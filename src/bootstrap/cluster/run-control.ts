/** What a person may say to a run of a cluster, and hear of it, from any machine. */
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { runId } from '../../kernel/ids.ts';
import type { RunRecord, RunWanted, Store } from '../../ports/store.ts';
import { noSuchRun } from '../../store/store-errors.ts';
import { holdDataset, livingHolder, thisProcess } from '../hold.ts';
import { followRun, lastEventSeq, type NumberedRunEvent } from './follow.ts';
import { openStoreOfRuns, type StoreFlags } from './runs-store.ts';

/** What becomes of what was said. */
export type Heard =
  /** Its leader does it within a second. */
  | 'led'
  /** No node leads it now; the next one does it. */
  | 'waits'
  /** No node leads it now, and none has to: it is over. */
  | 'ended';

/** @throws DlgforgeError `resume` when there is no such run, or it is not on. */
export async function wantRun(
  flags: StoreFlags,
  environment: Environment,
  id: string,
  wanted: RunWanted,
): Promise<Heard> {
  const opened = await openStoreOfRuns(flags, environment);
  try {
    const record = await knownRun(opened.store, id);
    const store = opened.store as Store;
    const isOn = (await store.activeRuns()).some((run) => run.id === record.id);
    if (!isOn) throw notOn(record);
    await store.setRunWanted(record.id, wanted);
    if ((await livingHolder(store, record.datasetId)) !== null) return 'led';
    return wanted === 'cancel' && (await cancelUnled(store, record)) ? 'ended' : 'waits';
  } finally {
    await opened.close();
  }
}

/** Nothing of it is in flight, so nobody has to be waited for. False when a node was faster. */
async function cancelUnled(store: Store, { id, datasetId }: RunRecord): Promise<boolean> {
  const lost = (): void => undefined;
  const hold = await holdDataset(store, datasetId, thisProcess('dlgforge runs cancel'), lost).catch(
    () => null,
  );
  if (hold === null) return false;
  try {
    await store.setRunStatus(id, hold.lease, 'cancelled', null);
    return true;
  } finally {
    await hold.release();
  }
}

export interface EventsOptions {
  readonly id: string;
  /** Goes on until the run ends. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

/** What happened to a run, from its start. @throws DlgforgeError `resume`. */
export async function* runEvents(
  flags: StoreFlags,
  environment: Environment,
  { id, follow, signal }: EventsOptions,
): AsyncGenerator<NumberedRunEvent> {
  const opened = await openStoreOfRuns(flags, environment);
  try {
    const record = await knownRun(opened.store, id);
    const store = opened.store as Store;
    const last = await lastEventSeq(store, record.id);
    if (!follow && last === 0) return;
    if (follow) {
      yield* followRun({ store, runId: record.id, signal });
      return;
    }
    for await (const event of followRun({ store, runId: record.id, signal })) {
      yield event;
      if (event.seq >= last) return;
    }
  } finally {
    await opened.close();
  }
}

async function knownRun(store: Store | null, id: string): Promise<RunRecord> {
  const record = (await store?.getRun(runId(id))) ?? null;
  if (record === null) throw noSuchRun(id);
  return record;
}

const notOn = ({ id, status }: RunRecord): DlgforgeError =>
  new DlgforgeError(
    'resume',
    status === 'running'
      ? `The run ${id} runs in one process, not on a cluster: stop it there with Ctrl-C, and go on with the same command.`
      : `The run ${id} is ${status}. \`dlgforge run\` with its configuration and --resume ${id} goes on with it.`,
  );
