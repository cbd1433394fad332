/** One series each: a name with its labels, and what was counted. */
import type { MetricName } from '../../kernel/metrics.ts';

type Labels = Readonly<Record<string, string>>;

interface Named {
  readonly name: MetricName;
  readonly labels: Labels;
}

/** What a series has to tell; plain JSON. */
export type SeriesSnapshot =
  | (Named & { readonly value: number })
  | (Named & {
      /** Per bucket, not cumulative; the last one is what is above all bounds. */
      readonly counts: readonly number[];
      readonly sum: number;
    });

export class CounterSeries {
  readonly #named: Named;
  #value = 0;

  constructor(name: MetricName, labels: Labels) {
    this.#named = { name, labels };
  }

  /** A counter never falls, whatever it is told. */
  add(amount = 1): void {
    if (amount > 0) this.#value += amount;
  }

  snapshot(): SeriesSnapshot {
    return { ...this.#named, value: this.#value };
  }
}

export class GaugeSeries {
  readonly #named: Named;
  #value: number | null = null;

  constructor(name: MetricName, labels: Labels) {
    this.#named = { name, labels };
  }

  set(value: number): void {
    this.#value = value;
  }

  add(amount: number): void {
    this.#value = (this.#value ?? 0) + amount;
  }

  remove(): void {
    this.#value = null;
  }

  snapshot(): SeriesSnapshot | null {
    return this.#value === null ? null : { ...this.#named, value: this.#value };
  }
}

export class HistogramSeries {
  readonly #named: Named;
  readonly #buckets: readonly number[];
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(name: MetricName, labels: Labels, buckets: readonly number[]) {
    this.#named = { name, labels };
    this.#buckets = buckets;
    this.#counts = new Float64Array(buckets.length + 1);
  }

  observe(seconds: number): void {
    // The bounds are few and most values are small: looking from the left is the quickest.
    let place = 0;
    while (place < this.#buckets.length && seconds > (this.#buckets[place] as number)) place += 1;
    this.#counts[place] = (this.#counts[place] as number) + 1;
    this.#sum += seconds;
  }

  snapshot(): SeriesSnapshot {
    return { ...this.#named, counts: [...this.#counts], sum: this.#sum };
  }
}
