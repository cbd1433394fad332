/** What a person may say to a run of a cluster, and hear of it, from any machine. */
import type { Environment } from '../../config/environment.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { runId } from '../../kernel/ids.ts';
import type { RunRecord, Store } from '../../ports/store.ts';
import { noSuchRun } from '../../store/store-errors.ts';
import { followRun, lastEventSeq, type NumberedRunEvent } from './follow.ts';
import { openStoreOfRuns, type StoreFlags } from './runs-store.ts';

/** @throws DlgforgeError `resume` when there is no such run, or it is not on. */
export async function wantRun(
  flags: StoreFlags,
  environment: Environment,
  id: string,
  wanted: 'run' | 'pause' | 'cancel',
): Promise<void> {
  const { store, close } = await openStoreOfRuns(flags, environment);
  try {
    const record = await knownRun(store, id);
    const isOn = (await (store as Store).activeRuns()).some((run) => run.id === record.id);
    if (!isOn) throw notOn(record);
    await (store as Store).setRunWanted(record.id, wanted);
  } finally {
    await close();
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
    for await (const event of followRun({ store, runId: record.id, signal })) {
      yield event;
      if (!follow && event.seq >= last) return;
      // A run that was resumed has ended before.
      if (event.event.type === 'RunEnded' && event.seq >= (await lastEventSeq(store, record.id))) return;
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
