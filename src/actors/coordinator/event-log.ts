/**
 * Writes the run's events down in batches, so that no commit waits for it.
 *
 * Owns: what is noted and not yet durable; at most what happens during one append (I9). A crash loses it,
 * and the next life finds it again in the commit table (`catch-up.ts`).
 */
import type { RunEvent } from '../../protocol/run-events.ts';
import type { CoordinatorMessage } from '../messages.ts';
import type { Persistence } from '../runtime/persistent-actor.ts';
import type { ActorContext } from '../runtime/types.ts';
import { evolveRecord, type RunRecord } from './record.ts';

export interface EventLog {
  note(events: readonly RunEvent[]): void;
  /** To be called for each `EventsWritten`. */
  written(): void;
  /** With all that was noted. */
  readonly record: RunRecord;
  /** Nothing waits to be written. */
  readonly isDurable: boolean;
}

export function createEventLog(
  context: ActorContext<CoordinatorMessage>,
  persistence: Persistence<RunRecord, RunEvent>,
): EventLog {
  let record = persistence.state;
  let waiting: RunEvent[] = [];
  let isWriting = false;

  const write = (): void => {
    if (isWriting || waiting.length === 0) return;
    isWriting = true;
    const batch = waiting;
    waiting = [];
    context.pipe(
      persistence.persist(batch),
      () => ({ type: 'EventsWritten' }),
      (error) => {
        throw error;
      },
    );
  };

  return {
    note(events) {
      record = events.reduce(evolveRecord, record);
      waiting.push(...events);
      write();
    },
    written() {
      isWriting = false;
      write();
    },
    get record() {
      return record;
    },
    get isDurable() {
      return !isWriting && waiting.length === 0;
    },
  };
}
