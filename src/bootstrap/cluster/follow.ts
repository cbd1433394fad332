/** The events of a run as they are written, each exactly once and in order, whoever leads the run. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  decodeRunEvent,
  type RunEvent,
  runEventsId,
  type UnknownRunEvent,
} from '../../protocol/run-events.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { Store } from '../../ports/store.ts';

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

/** Ends when `signal` aborts; whoever reads decides which event is the last. */
export async function* followRun({
  store,
  runId,
  after = 0,
  signal,
}: FollowOptions): AsyncGenerator<NumberedRunEvent> {
  const id = runEventsId(runId);
  let last = after;
  while (!signal.aborted) {
    const page = await store.journal.pick(
      id,
      Array.from({ length: PAGE }, (_, offset) => last + 1 + offset),
    );
    for (const { seq, atMs, event } of page) {
      // A page is read while events are appended: what comes after a hole comes again.
      if (seq !== last + 1) break;
      last = seq;
      yield { seq, atMs, event: decodeRunEvent(event) };
    }
    if (page.length < PAGE) await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** The position of the newest event; 0 when there is none. */
export async function lastEventSeq(store: Store, runId: RunId): Promise<number> {
  const id = runEventsId(runId);
  const entry = (await store.journal.list(id)).find((listed) => listed.id === id);
  return entry?.lastSeq ?? 0;
}
