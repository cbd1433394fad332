/**
 * When a head that was started for a run is needed no more: nothing runs, and nobody else is there. Others may
 * come at that very moment, so it first goes out of sight, and comes back when somebody was on the way.
 */
import type { Membership, NodeCard } from '../../ports/membership.ts';
import type { Door } from './head-door.ts';

export interface IdleOptions {
  readonly membership: Pick<Membership, 'node' | 'members' | 'inContact'>;
  readonly isBusy: () => boolean;
  /** Null: nobody finds it by a file. */
  readonly door: Door | null;
  readonly onError: (error: unknown) => void;
  /** Once: it may end. */
  readonly onIdle: () => void;
  readonly timings?: Partial<IdleTimings>;
}

export interface IdleTimings {
  /** Between one run and the next. */
  readonly idleMs: number;
  /** Until the run that it was started for is there. */
  readonly firstRunMs: number;
  /** Out of sight: longer than it takes to join. */
  readonly goneMs: number;
}

export interface IdleWatch {
  /** The run that it was started for does not come. */
  unwanted(): void;
  stop(): void;
}

const TIMINGS: IdleTimings = { idleMs: 3_000, firstRunMs: 60_000, goneMs: 1_500 };
const LOOK_MS = 250;

export function watchIdle(options: IdleOptions): IdleWatch {
  const { membership, isBusy, door, onError, onIdle } = options;
  const timings = { ...TIMINGS, ...options.timings };
  let hadRun = false;
  let idleSinceMs = Date.now();
  let goneSinceMs: number | null = null;
  let over = false;

  const look = async (): Promise<void> => {
    const others = membership.members().filter(({ card }) => isSomebodyElse(card, membership.node));
    hadRun ||= isBusy() || others.some(({ card }) => card.kind === 'run');
    if (isBusy() || others.length > 0 || !membership.inContact()) {
      idleSinceMs = Date.now();
      if (goneSinceMs === null) return;
      goneSinceMs = null;
      await door?.open();
    } else if (goneSinceMs === null) {
      if (Date.now() - idleSinceMs < (hadRun ? timings.idleMs : timings.firstRunMs)) return;
      goneSinceMs = Date.now();
      await door?.close();
    } else if (Date.now() - goneSinceMs >= timings.goneMs) {
      stop();
      onIdle();
    }
  };
  let looking: Promise<void> | null = null;
  const timer = setInterval(() => {
    if (over) return;
    looking ??= look()
      .catch(onError)
      .finally(() => {
        looking = null;
      });
  }, LOOK_MS);
  const stop = (): void => {
    over = true;
    clearInterval(timer);
  };
  return {
    unwanted() {
      hadRun = true;
      idleSinceMs = Number.NEGATIVE_INFINITY;
    },
    stop,
  };
}

/** Its own workers go with it, and others' come with theirs. */
const isSomebodyElse = ({ kind, node }: NodeCard, self: string): boolean =>
  node !== self && kind !== 'worker';
