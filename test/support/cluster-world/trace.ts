/** What happened in a simulation, line by line. Equal seeds give equal hashes, which is what makes a failure replayable. */
import { createHash } from 'node:crypto';
import type { Clock } from '../../../src/kernel/clock.ts';
import type { Logger } from '../../../src/kernel/logger.ts';

export class Trace {
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #hash = createHash('sha256');
  readonly #keep: boolean;
  /** Empty unless the lines are kept. */
  readonly lines: string[] = [];

  constructor(clock: Clock, keep: boolean) {
    this.#clock = clock;
    this.#startMs = clock.now();
    this.#keep = keep;
  }

  get elapsedMs(): number {
    return this.#clock.now() - this.#startMs;
  }

  note(who: string, what: string): void {
    const line = `${String(Math.round(this.elapsedMs)).padStart(7)} ${who.padEnd(6)} ${what}`;
    this.#hash.update(line);
    if (this.#keep) this.lines.push(line);
  }

  loggerOf(process: string): Logger {
    return {
      log: (level, _category, message) => {
        if (level !== 'debug') this.note(process, message);
      },
    };
  }

  digest(): string {
    return this.#hash.copy().digest('hex').slice(0, 16);
  }
}
