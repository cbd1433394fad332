/**
 * One process of a simulated cluster, as the world sees it: it runs, stands still, or is gone without a word.
 * What others send it goes by its clock, so that a process that stands still meets it at its thaw and one
 * that is gone never does.
 */
import type { Clock } from '../../../src/kernel/clock.ts';
import { FreezableClock } from '../freezable-clock.ts';

export class Body {
  readonly name: string;
  readonly clock: FreezableClock;
  /** It reaches the database. */
  reachesStore = true;
  /** It reaches the server of the work queue, which is the network's. */
  reachesQueue = true;
  #state: 'running' | 'frozen' | 'dead' = 'running';

  constructor(name: string, clock: Clock) {
    this.name = name;
    this.clock = new FreezableClock(clock);
  }

  get isRunning(): boolean {
    return this.#state === 'running';
  }

  get isFrozen(): boolean {
    return this.#state === 'frozen';
  }

  get isDead(): boolean {
    return this.#state === 'dead';
  }

  freeze(): void {
    this.#state = 'frozen';
    this.clock.freeze();
  }

  thaw(): void {
    this.#state = 'running';
    this.clock.thaw();
  }

  /** Its timers never run again. */
  kill(): void {
    this.#state = 'dead';
    this.clock.freeze();
  }

  /** Its time passes: for the world's end. */
  bury(): void {
    this.clock.thaw();
  }

  /** Resolves when the process has lived through `ms`: never, when it dies before. */
  lives(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.clock.schedule(ms, resolve);
    });
  }
}
