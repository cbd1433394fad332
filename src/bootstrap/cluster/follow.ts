/** The events of a run as they are written, each exactly once and in order, whoever leads the run. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunId } from '../../kernel/ids.ts';
import type { RunRecord, Store } from '../../ports/store.ts';
import {
  decodeRunEvent,
  type RunEnd,
  type RunEvent,
  runEventsId,
  type UnknownRunEvent,
} from '../../protocol/run-events.ts';
import { livingHolder } from '../hold.ts';

export interface NumberedRunEvent {
  /** From 1, without gaps. */
  readonly seq: number;
  readonly atMs: number;
  readonly event: RunEvent | UnknownRunEvent;
}

export interface FollowOptions {
  readonly store: Store;
  readonly runId: RunId;
  /** Events up to this one are left out. @default 0: from the start */
  readonly after?: number;
  readonly signal: AbortSignal;
}

const LOOK_MS = 200;
const PAGE = 500;
/** Whether a run is over is looked at when it has been silent for so many looks. */
const SILENT_LOOKS = 5;

/**
 * Yields what happens, and returns how the run ended once every event has been read; null when `signal`
 * aborts first. An end that a person has resumed from is not the end.
 */
export async function* followRun({
  store,
  runId,
  after = 0,
  signal,
}: FollowOptions): AsyncGenerator<NumberedRunEvent, RunEnd | null> {
  const id = runEventsId(runId);
  let last = after;
  let silentLooks = 0;
  while (!signal.aborted) {
    const seqs = Array.from({ length: PAGE }, (_, offset) => last + 1 + offset);
    const page = await unlessAborted(store.journal.pick(id, seqs), signal);
    if (page === null) return null;
    for (const { seq, atMs, event } of page) {
      // A page is read while events are appended: what comes after a hole comes again.
      if (seq !== last + 1) break;
      last = seq;
      yield { seq, atMs, event: decodeRunEvent(event) };
    }
    if (page.length === PAGE) continue;
    silentLooks = page.length > 0 ? 0 : silentLooks + 1;
    if (silentLooks > 0 && silentLooks % SILENT_LOOKS === 0) {
      const end = await unlessAborted(endOfRun(store, runId), signal);
      // What was written between the last page and that look is still to be read.
      if (end !== null && (await lastEventSeq(store, runId)) <= last) return end;
    }
    await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
  }
  return null;
}

/** How a run that is not on any more has ended; null while it is on. A run without a process is interrupted. */
export async function endOfRun(store: Store, runId: RunId): Promise<RunEnd | null> {
  const record = await store.getRun(runId);
  if (record === null) return { type: 'interrupted' };
  if (record.status !== 'running' && record.status !== 'paused') return endOf(record);
  const isOfCluster = (await store.activeRuns()).some(({ id }) => id === runId);
  if (isOfCluster || (await livingHolder(store, record.datasetId)) !== null) return null;
  return { type: 'interrupted' };
}

function endOf({ status, error }: Pick<RunRecord, 'status' | 'error'>): RunEnd {
  if (status === 'completed' || status === 'cancelled') return { type: status };
  if (status !== 'failed') return { type: 'interrupted' };
  return { type: 'failed', trouble: { code: 'run_failed', message: error ?? 'see the logs of the nodes' } };
}

/** The position of the newest event; 0 when there is none. */
export async function lastEventSeq(store: Store, runId: RunId): Promise<number> {
  const id = runEventsId(runId);
  const entry = (await store.journal.list(id)).find((listed) => listed.id === id);
  return entry?.lastSeq ?? 0;
}

/** Null when `signal` aborts first: a store that is away must not keep anybody who wants to go. */
export async function unlessAborted<T>(value: Promise<T>, signal: AbortSignal): Promise<T | null> {
  if (signal.aborted) return null;
  const aborted = Promise.withResolvers<null>();
  const onAbort = (): void => aborted.resolve(null);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([value, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    // Nobody waits for it any more.
    value.catch(() => undefined);
  }
}
