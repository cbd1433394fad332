import { DlgforgeError } from '../../kernel/errors.ts';

/** Lets `width` operations through at a time and `queueMax` wait, first come first served (I9). */
export class Gate {
  readonly #width: number;
  readonly #queueMax: number;
  readonly #waiting: (() => void)[] = [];
  #head = 0;
  #inside = 0;

  constructor(width: number, queueMax: number) {
    this.#width = width;
    this.#queueMax = queueMax;
  }

  /** @throws DlgforgeError `overloaded` at once when too many wait. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#width) await this.#turn();
    else this.#inside += 1;
    try {
      return await work();
    } finally {
      this.#next();
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.length - this.#head >= this.#queueMax) {
      throw new DlgforgeError(
        'overloaded',
        `More than ${this.#queueMax} operations wait for the database. ` +
          'Raise store.postgres.max_pool_size, or lower run.batch_size.',
        { retryable: true },
      );
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** Hands the place on to the next one in line, or frees it. */
  #next(): void {
    const next = this.#waiting[this.#head];
    if (next === undefined) {
      this.#inside -= 1;
      return;
    }
    this.#head += 1;
    if (this.#head > 1_000) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    next();
  }
}
