/** The numbers of the statistics: rounded, counted and binned as 0.1.0 did, so that files compare. */

/** By ascending value; keys are texts because JSON has no others. */
export type Distribution = Readonly<Record<string, number>>;

/** To 4 digits; exact halves to the even neighbour, as Python's `round` does. */
export function rounded(value: number): number {
  // A tie at the fifth digit can only be exact when five binary digits hold the fraction.
  const scaled = value * 10_000;
  const isTie = Number.isInteger(value * 32) && Math.abs(scaled % 1) === 0.5;
  return isTie ? halfToEven(scaled) / 10_000 : Number(value.toFixed(4));
}

export function halfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Counts of whole values; grows with the number of distinct ones. */
export class Tally {
  readonly #counts = new Map<number, number>();
  count = 0;
  sum = 0;

  add(value: number): void {
    this.#counts.set(value, (this.#counts.get(value) ?? 0) + 1);
    this.count += 1;
    this.sum += value;
  }

  /** Null when nothing was added. */
  get mean(): number | null {
    return this.count === 0 ? null : rounded(this.sum / this.count);
  }

  get min(): number | null {
    return this.#values()[0] ?? null;
  }

  get max(): number | null {
    return this.#values().at(-1) ?? null;
  }

  distribution(): Distribution {
    return Object.fromEntries(this.#values().map((value) => [String(value), this.#counts.get(value) ?? 0]));
  }

  /** Up to 12 bins of equal width from the smallest value on; empty ones are left out, the last is cut at the largest. */
  histogram(): Distribution {
    const [min, max] = [this.min, this.max];
    if (min === null || max === null) return {};
    if (min === max) return { [`${min}-${max}`]: this.count };
    const width = Math.max(1, Math.ceil((max - min + 1) / BINS_MAX));
    const bins = new Map<number, number>();
    for (const value of this.#values()) {
      const bin = Math.floor((value - min) / width);
      bins.set(bin, (bins.get(bin) ?? 0) + (this.#counts.get(value) ?? 0));
    }
    return Object.fromEntries(
      [...bins].map(([bin, count]) => {
        const start = min + bin * width;
        return [`${start}-${Math.min(start + width - 1, max)}`, count];
      }),
    );
  }

  #values(): number[] {
    return [...this.#counts.keys()].toSorted((a, b) => a - b);
  }
}

const BINS_MAX = 12;

/** Scores from 0 to 10: their mean, and how many round (half to even) to each whole score. */
export class ScoreTally {
  readonly #buckets = new Tally();
  #sum = 0;

  add(score: number): void {
    this.#sum += score;
    this.#buckets.add(Math.min(10, Math.max(0, halfToEven(score))));
  }

  get count(): number {
    return this.#buckets.count;
  }

  get mean(): number | null {
    return this.count === 0 ? null : rounded(this.#sum / this.count);
  }

  distribution(): Distribution {
    return this.#buckets.distribution();
  }
}

export interface Share {
  readonly count: number;
  /** Of all that were counted, 0 to 1. */
  readonly share: number;
}

/** Counts of names; those that come up after the limit are counted as one. */
export class NameTally {
  readonly #counts = new Map<string, number>();
  #total = 0;

  add(name: string): void {
    const key = this.#counts.has(name) || this.#counts.size < NAMES_MAX ? name : OTHER_NAMES;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    this.#total += 1;
  }

  counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#sorted());
  }

  shares(): Readonly<Record<string, Share>> {
    return Object.fromEntries(
      this.#sorted().map(([name, count]) => [name, { count, share: rounded(count / this.#total) }]),
    );
  }

  #sorted(): [string, number][] {
    return [...this.#counts].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}

/** Names are a handful; more come from a file that holds something else. */
const NAMES_MAX = 1_000;
const OTHER_NAMES = '(other)';
