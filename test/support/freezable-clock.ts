/** One node's view of a shared clock. While it is frozen none of its timers runs; at the thaw, those that are due do. */
import type { Clock } from '../../src/kernel/clock.ts';

export class FreezableClock implements Clock {
  readonly #clock: Clock;
  #held: (() => void)[] | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  schedule(delayMs: number, callback: () => void): () => void {
    let cancelled = false;
    const run = (): void => {
      if (cancelled) return;
      if (this.#held === null) callback();
      else this.#held.push(run);
    };
    const cancel = this.#clock.schedule(delayMs, run);
    return () => {
      cancelled = true;
      cancel();
    };
  }

  freeze(): void {
    this.#held ??= [];
  }

  thaw(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const run of held) run();
  }
}
