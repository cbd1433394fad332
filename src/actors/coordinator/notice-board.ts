/** Tells the workers what they have to know of the run: when it changes, and whoever asks. */
import type { Schedule } from '../../dialogue/schedule.ts';
import type { CoordinatorMessage, RunNotice, RunPhase, WorkerMessage } from '../messages.ts';
import type { ActorContext, ActorRef } from '../runtime/types.ts';
import type { CoordinatorOptions } from './options.ts';
import type { Crew } from './crew.ts';

export interface NoticeBoard {
  tell(worker: ActorRef<WorkerMessage>): void;
  /** Everybody, when something has changed since the last time. */
  tellAll(): void;
}

export interface NoticeBoardOptions {
  readonly options: Pick<CoordinatorOptions, 'lease' | 'limits'>;
  readonly term: number;
  readonly schedule: Schedule;
  readonly crew: Crew;
  readonly phase: () => RunPhase;
  readonly context: ActorContext<CoordinatorMessage>;
}

export function createNoticeBoard(board: NoticeBoardOptions): NoticeBoard {
  const { options, term, schedule, crew, context } = board;
  let told = '';

  const notice = (): RunNotice => ({
    type: 'RunNotice',
    epoch: options.lease.epoch,
    term,
    phase: board.phase(),
    isLastWindow: schedule.isLastWindow,
    leftLanguages: schedule
      .progress()
      .filter(({ ended }) => ended === 'failed')
      .map(({ languageIndex }) => languageIndex),
    workerCount: crew.ableCount,
    window: options.limits.openMax + options.limits.waitingMax,
  });

  return {
    tell: (worker) => context.tell(worker, notice()),
    tellAll() {
      const now = notice();
      const text = JSON.stringify(now);
      if (text === told) return;
      told = text;
      for (const worker of crew.refs) context.tell(worker, now);
    },
  };
}
