/**
 * What goes wrong in a simulation, and when: drawn from the seed. Everything that is done to the cluster is
 * undone at the end of the bad time, and what it needs to go on is there then.
 */
import type { ClusterWorld } from './cluster-world.ts';
import type { Dice } from './dice.ts';
import { type Fault, Faults, GENTLE } from './faults.ts';

export interface FaultScheduleOptions {
  readonly world: ClusterWorld;
  readonly dice: Dice;
  readonly faults: Faults;
  /** The first fault comes after this. */
  readonly quietMs: number;
  /** From one fault to the next. */
  readonly pauseMs: readonly [min: number, max: number];
  /** Then everything is well again. */
  readonly badTimeMs: number;
}

/**
 * A fault that is undone at once would be missed: membership looks at its connection four times a second, and
 * what gets lost on one that is away for less than that, without being delayed, is more than TCP does.
 */
const LASTS_MIN_MS = 600;

export class FaultSchedule {
  readonly #options: FaultScheduleOptions;
  /** What is still to be undone. */
  readonly #undo = new Set<() => void>();
  readonly counts = new Map<string, number>();

  constructor(options: FaultScheduleOptions) {
    this.#options = options;
  }

  /** Faults that may have cost calls. */
  get harshCount(): number {
    let count = 0;
    for (const [name, times] of this.counts) if (!GENTLE.has(name)) count += times;
    return count;
  }

  start(): void {
    const { world, quietMs, badTimeMs } = this.#options;
    world.clock.schedule(quietMs, () => this.#next());
    world.clock.schedule(badTimeMs, () => this.#heal());
  }

  #next(): void {
    const { world, dice, faults, pauseMs, badTimeMs } = this.#options;
    if (world.trace.elapsedMs >= badTimeMs - LASTS_MIN_MS) return;
    world.inspect();
    const [name, fault] = dice.pick(faults.all) as [string, Fault];
    if (fault((afterMs, undo) => this.#undoLater(afterMs, undo)))
      this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    world.clock.schedule(dice.between(...pauseMs), () => this.#next());
  }

  #undoLater(afterMs: number, undo: () => void): void {
    const once = (): void => {
      if (this.#undo.delete(once)) undo();
    };
    this.#undo.add(once);
    this.#options.world.clock.schedule(afterMs, once);
  }

  #heal(): void {
    const { world, faults } = this.#options;
    for (const undo of this.#undo) undo();
    world.trace.note('FAULT', 'all is well again');
    faults.repair();
  }
}
