/** Everything that is left to chance in a simulation, from one seed and in the order of asking. */
import { uniform } from '../../../src/kernel/random.ts';

export class Dice {
  readonly #seed: string;
  #throws = 0;

  constructor(seed: string) {
    this.#seed = seed;
  }

  /** Another row of throws, which does not change with what is asked of this one. */
  apart(what: string): Dice {
    return new Dice(`${this.#seed}/${what}`);
  }

  unit(): number {
    this.#throws += 1;
    return uniform([this.#seed, this.#throws]);
  }

  /** True in this share of the throws. */
  falls(share: number): boolean {
    return this.unit() < share;
  }

  /** A whole number, both ends included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.unit() * (max - min + 1));
  }

  /** Mostly small, sometimes large. */
  skewed(min: number, max: number): number {
    return Math.round(min + (max - min) * this.unit() ** 3);
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.unit() * items.length)];
  }

  shuffled<T>(items: readonly T[]): T[] {
    return items
      .map((item) => ({ item, at: this.unit() }))
      .sort((a, b) => a.at - b.at)
      .map(({ item }) => item);
  }
}
