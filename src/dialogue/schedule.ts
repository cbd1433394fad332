/**
 * Which conversation is opened next and which is settled next. Pure; the coordinator holds one.
 *
 * Owns: per language its target, its counts, what is open and where its commit frontier stands.
 * Invariants:
 * - S1 Conversations are settled in rank order: (index, position of the language).
 * - S2 A language opens exactly as many indexes as it needs: its target plus its settled drops.
 * - S3 At most `openMax` are generating, and while `waitingMax` wait finished for lower ranks none is
 *   opened but the one they wait for: so at most `openMax + waitingMax` are known at a time (I9).
 * - S4 Every rank that the frontier can reach is opened sooner or later: no order of finishing stops a run.
 */
import { invariant } from '../kernel/errors.ts';

export interface Rank {
  readonly index: number;
  readonly languageIndex: number;
}

export function compareRanks(a: Rank, b: Rank): number {
  return a.index - b.index || a.languageIndex - b.languageIndex;
}

export interface LanguageProgress {
  readonly languageIndex: number;
  readonly target: number;
  readonly committed: number;
  readonly dropped: number;
  /** Drops since the last commit of this language. */
  readonly consecutiveDrops: number;
  /** Everything below it is settled. */
  readonly frontier: number;
  readonly ended: null | 'reached' | 'failed';
}

export interface ScheduleLimits {
  readonly openMax: number;
  readonly waitingMax: number;
  readonly consecutiveDropsMax: number;
}

interface Lane {
  progress: LanguageProgress;
  /** Opened out of order in the last window, so a set and not a number; only indexes ≥ frontier. */
  opened: Set<number>;
  /** Smallest index that was never opened. */
  nextIndex: number;
}

export interface Schedule {
  /** No more is left to open than may be open: from here on the longest conversation decides when the run ends. */
  readonly isLastWindow: boolean;
  /** The next conversation to open, or null while the window is full or nothing is left. */
  admit(): Rank | null;
  /**
   * A conversation's generation is over (or, with false, goes on after it was sent back). Of a rank that
   * is not open, because it is settled or its language has ended, nothing is noted.
   */
  setFinished(rank: Rank, finished: boolean): void;
  standing(rank: Rank): Standing;
  /** Opened, and its generation is not over. */
  isGenerating(rank: Rank): boolean;
  generating(): readonly Rank[];
  /** The rank whose turn it is to be settled; null when every language has ended. */
  frontier(): Rank | null;
  settle(rank: Rank, outcome: 'committed' | 'dropped'): LanguageProgress;
  progress(): readonly LanguageProgress[];
  readonly openCount: number;
  readonly waitingCount: number;
  readonly done: boolean;
}

export interface LaneStart {
  readonly target: number;
  readonly committed: number;
  readonly dropped: number;
  readonly consecutiveDrops: number;
  readonly nextIndex: number;
}

/** `left`: not settled, and its language has ended, so that it will not be in this run. */
export type Standing = 'settled' | 'to_come' | 'left';

/** @param turnCountOf known from the plan; the last window opens its longest conversations first. */
export function createSchedule(
  starts: readonly LaneStart[],
  limits: ScheduleLimits,
  turnCountOf: (rank: Rank) => number,
): Schedule {
  const lanes: Lane[] = starts.map((start, languageIndex) => ({
    progress: withEnd({ ...start, languageIndex, frontier: start.nextIndex, ended: null }, limits),
    opened: new Set(),
    nextIndex: start.nextIndex,
  }));
  const finished = new Set<string>();
  const nameOf = (rank: Rank): string => `${rank.index}/${rank.languageIndex}`;

  const opened = (): number => lanes.reduce((sum, lane) => sum + lane.opened.size, 0);
  const laneOf = (rank: Rank): Lane => {
    const lane = lanes[rank.languageIndex];
    invariant(lane !== undefined, `language ${rank.languageIndex} is part of the run`);
    return lane;
  };

  /** Indexes that a lane still has to open (S2). */
  const remaining = (lane: Lane): number =>
    lane.progress.ended === null ? lane.progress.target - lane.progress.committed - lane.opened.size : 0;

  const unopened = (lane: Lane, count: number): Rank[] => {
    const ranks: Rank[] = [];
    for (let index = lane.nextIndex; ranks.length < count; index += 1) {
      if (!lane.opened.has(index)) ranks.push({ index, languageIndex: lane.progress.languageIndex });
    }
    return ranks;
  };

  const unopenedCount = (): number => lanes.reduce((sum, lane) => sum + Math.max(0, remaining(lane)), 0);

  const choose = (): Rank | null => {
    const left = unopenedCount();
    if (left === 0) return null;
    const perLane = left <= limits.openMax ? left : 1;
    const candidates = lanes.flatMap((lane) =>
      unopened(lane, Math.min(perLane, Math.max(0, remaining(lane)))),
    );
    if (left > limits.openMax) return candidates.sort(compareRanks)[0] ?? null;
    return candidates.reduce<Rank | null>(
      (best, rank) => (best === null || isLonger(rank, best) ? rank : best),
      null,
    );
  };

  const isLonger = (a: Rank, b: Rank): boolean =>
    knownTurnCount(b) - knownTurnCount(a) < 0 ||
    (knownTurnCount(a) === knownTurnCount(b) && compareRanks(a, b) < 0);

  /** Of the last window, which is looked through once for each conversation in it. */
  const turnCounts = new Map<string, number>();
  const knownTurnCount = (rank: Rank): number => {
    const name = nameOf(rank);
    let count = turnCounts.get(name);
    if (count === undefined) {
      count = turnCountOf(rank);
      turnCounts.set(name, count);
    }
    return count;
  };

  const frontier = (): Rank | null => {
    const ranks = lanes
      .filter((lane) => lane.progress.ended === null)
      .map((lane) => ({ index: lane.progress.frontier, languageIndex: lane.progress.languageIndex }));
    return ranks.sort(compareRanks)[0] ?? null;
  };
  const isOpen = (rank: Rank): boolean => laneOf(rank).opened.has(rank.index);

  /** The rank that all others wait for, if it is not even open: the last window may have put it off. */
  const awaited = (): Rank | null => {
    const first = frontier();
    return first === null || isOpen(first) ? null : first;
  };

  return {
    get isLastWindow() {
      return unopenedCount() <= limits.openMax;
    },
    admit() {
      if (opened() - finished.size >= limits.openMax) return null;
      const rank = finished.size >= limits.waitingMax ? awaited() : choose();
      if (rank === null) return null;
      const lane = laneOf(rank);
      lane.opened.add(rank.index);
      while (lane.opened.has(lane.nextIndex)) lane.nextIndex += 1;
      return rank;
    },
    setFinished(rank, isFinished) {
      if (isFinished && isOpen(rank)) finished.add(nameOf(rank));
      else finished.delete(nameOf(rank));
    },
    standing(rank) {
      const { frontier: next, ended } = laneOf(rank).progress;
      if (rank.index < next) return 'settled';
      return ended === null ? 'to_come' : 'left';
    },
    isGenerating: (rank) => isOpen(rank) && !finished.has(nameOf(rank)),
    generating: () =>
      lanes.flatMap(({ opened: indexes, progress: { languageIndex } }) =>
        [...indexes].map((index) => ({ index, languageIndex })).filter((rank) => !finished.has(nameOf(rank))),
      ),
    frontier,
    settle(rank, outcome) {
      const lane = laneOf(rank);
      const { progress } = lane;
      invariant(rank.index === progress.frontier, `settled in rank order: ${nameOf(rank)}`);
      finished.delete(nameOf(rank));
      lane.opened.delete(rank.index);
      lane.nextIndex = Math.max(lane.nextIndex, rank.index + 1);
      lane.progress = withEnd(
        {
          ...progress,
          committed: progress.committed + (outcome === 'committed' ? 1 : 0),
          dropped: progress.dropped + (outcome === 'dropped' ? 1 : 0),
          consecutiveDrops: outcome === 'dropped' ? progress.consecutiveDrops + 1 : 0,
          frontier: progress.frontier + 1,
        },
        limits,
      );
      if (lane.progress.ended !== null) {
        for (const index of lane.opened)
          finished.delete(nameOf({ index, languageIndex: rank.languageIndex }));
        lane.opened.clear();
      }
      return lane.progress;
    },
    progress: () => lanes.map((lane) => lane.progress),
    get openCount() {
      return opened() - finished.size;
    },
    get waitingCount() {
      return finished.size;
    },
    get done() {
      return lanes.every((lane) => lane.progress.ended !== null);
    },
  };
}

function withEnd(progress: LanguageProgress, limits: ScheduleLimits): LanguageProgress {
  if (progress.committed >= progress.target) return { ...progress, ended: 'reached' };
  if (progress.consecutiveDrops >= limits.consecutiveDropsMax) return { ...progress, ended: 'failed' };
  return progress;
}
