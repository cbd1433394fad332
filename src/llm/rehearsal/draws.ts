import { bits, uniform } from '../../kernel/random.ts';

/** Draws named by purpose: the same parts and purpose give the same value, whatever was drawn before. */
export class Draws {
  readonly #low: number;
  readonly #high: number;

  constructor(...parts: readonly (string | number)[]) {
    this.#low = bits(parts, 1);
    this.#high = bits(parts, 2);
  }

  /** Uniform in [0, 1). */
  unit(purpose: string, index = 0): number {
    return uniform([this.#low, this.#high, purpose, index]);
  }

  /** Uniform integer in [0, bound). */
  below(purpose: string, bound: number, index = 0): number {
    return Math.floor(this.unit(purpose, index) * bound);
  }

  happens(purpose: string, probability: number): boolean {
    return probability > 0 && this.unit(purpose) < probability;
  }

  /** One of `items`; `fallback` when there are none. */
  pick<T>(purpose: string, items: readonly T[], fallback: T, index = 0): T {
    return items[this.below(purpose, items.length, index)] ?? fallback;
  }
}
