/**
 * The numbers of this process. Owns every series and the sources that are read at a look.
 *
 * Our own instead of prom-client: loading that one takes 20 MiB of memory and 50 ms, and each observation
 * 200 ns, of which every message of an actor makes one; this takes 3 MiB, 6 ms and 10 ns (docs/metrics.md).
 *
 * Invariants: 1. a name has at most `SERIES_MAX` series, what comes later is counted under `other` (I9);
 * 2. a look ends within `sourceTimeoutMs`, whatever the sources do.
 */
import { METRIC_CATALOGUE, type MetricSpec } from '../../kernel/metric-catalogue.ts';
import type {
  Counter,
  Gauge,
  Histogram,
  LabelsOf,
  MetricName,
  Metrics,
  MetricSource,
  NamesOf,
  Sample,
} from '../../kernel/metrics.ts';
import { CounterSeries, GaugeSeries, HistogramSeries, type SeriesSnapshot } from './series.ts';

const SERIES_MAX = 500;
const SOURCE_TIMEOUT_MS = 1_000;

type Labels = Readonly<Record<string, string>>;
type Series = CounterSeries | GaugeSeries | HistogramSeries;

export interface Registry extends Metrics {
  /** What the process has to tell now; plain JSON, so that a parent can be told. */
  look(): Promise<readonly SeriesSnapshot[]>;
}

export function openRegistry(options: { readonly sourceTimeoutMs?: number } = {}): Registry {
  return new OpenRegistry(options.sourceTimeoutMs ?? SOURCE_TIMEOUT_MS);
}

class OpenRegistry implements Registry {
  readonly isOn = true;
  readonly #sourceTimeoutMs: number;
  readonly #series = new Map<MetricName, Map<string, Series>>();
  readonly #sources = new Set<MetricSource>();

  constructor(sourceTimeoutMs: number) {
    this.#sourceTimeoutMs = sourceTimeoutMs;
  }

  counter<N extends NamesOf<'counter'>>(name: N, ...[labels]: LabelsOf<N>): Counter {
    return this.#find(name, labels ?? {}, (known) => new CounterSeries(name, known));
  }

  gauge<N extends NamesOf<'gauge'>>(name: N, ...[labels]: LabelsOf<N>): Gauge {
    return this.#find(name, labels ?? {}, (known) => new GaugeSeries(name, known));
  }

  histogram<N extends NamesOf<'histogram'>>(name: N, ...[labels]: LabelsOf<N>): Histogram {
    const { buckets } = METRIC_CATALOGUE[name];
    return this.#find(name, labels ?? {}, (known) => new HistogramSeries(name, known, buckets));
  }

  source(read: MetricSource): () => void {
    this.#sources.add(read);
    return () => this.#sources.delete(read);
  }

  async look(): Promise<readonly SeriesSnapshot[]> {
    const read = await Promise.all([...this.#sources].map((source) => this.#read(source)));
    const own = [...this.#series.values()].flatMap((series) => [...series.values()]);
    return [...own.flatMap((series) => series.snapshot() ?? []), ...summed(read.flat())];
  }

  #find<S extends Series>(name: MetricName, labels: Labels, make: (labels: Labels) => S): S {
    let series = this.#series.get(name);
    if (series === undefined) {
      series = new Map();
      this.#series.set(name, series);
    }
    const spec: MetricSpec = METRIC_CATALOGUE[name];
    let key = keyOf(labels, spec);
    let kept = labels;
    if (series.size >= SERIES_MAX && !series.has(key)) dropEmpty(series);
    if (series.size >= SERIES_MAX && !series.has(key)) {
      kept = Object.fromEntries(spec.labels.map((label) => [label, 'other']));
      key = keyOf(kept, spec);
    }
    // A name has one type, so whatever is there was made by a `make` of the same kind.
    const known = series.get(key) as S | undefined;
    if (known !== undefined) return known;
    const made = make(kept);
    series.set(key, made);
    return made;
  }

  /** A source that fails or hangs must not take the others' numbers along; that it does is a number too. */
  async #read(source: MetricSource): Promise<readonly Sample[]> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('late')), this.#sourceTimeoutMs);
    });
    try {
      return await Promise.race([Promise.resolve().then(source), late]);
    } catch {
      this.counter('dlgforge_metric_sources_failed_total').add();
      return [];
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Gauges that have nothing to tell any more make room; a handle on one of them is dead. */
function dropEmpty(series: Map<string, Series>): void {
  for (const [key, each] of series) if (each.snapshot() === null) series.delete(key);
}

const keyOf = (labels: Labels, spec: MetricSpec): string =>
  spec.labels.map((label) => labels[label] ?? '').join('\u0000');

/** Two parts of a process may tell of the same thing. */
function summed(samples: readonly Sample[]): SeriesSnapshot[] {
  const sums = new Map<string, SeriesSnapshot & { value: number }>();
  for (const { name, labels, value } of samples) {
    const key = `${name}\u0000${keyOf(labels, METRIC_CATALOGUE[name])}`;
    const known = sums.get(key);
    if (known === undefined) sums.set(key, { name, labels, value });
    else known.value += value;
  }
  return [...sums.values()];
}
