/**
 * What parts of a node say of themselves, as numbers. Whoever counts often keeps its handle: a handle is
 * one series, and using it costs some nanoseconds. Without a registry behind it all of this does nothing.
 */
import type { METRIC_CATALOGUE } from './metric-catalogue.ts';

type Catalogue = typeof METRIC_CATALOGUE;

export type MetricName = keyof Catalogue;
export type NamesOf<T extends 'counter' | 'gauge' | 'histogram'> = {
  [N in MetricName]: Catalogue[N]['type'] extends T ? N : never;
}[MetricName];

/** Nothing for a metric without labels, one object with each of its labels otherwise. */
export type LabelsOf<N extends MetricName> = Catalogue[N]['labels'] extends readonly []
  ? []
  : [labels: Readonly<Record<Catalogue[N]['labels'][number], string>>];

export interface Counter {
  /** @default 1 */
  add(amount?: number): void;
}

export interface Gauge {
  set(value: number): void;
  /** Up or down. */
  add(amount: number): void;
  /** There is nothing to tell any more: the series goes, and is asked for anew when there is. */
  remove(): void;
}

export interface Histogram {
  observe(seconds: number): void;
}

/** One number at the time of a look. */
export interface Sample {
  readonly name: NamesOf<'counter' | 'gauge'>;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Read whenever somebody looks; costs nothing in between. */
export type MetricSource = () => readonly Sample[] | Promise<readonly Sample[]>;

export interface Metrics {
  /** False: nobody will look, so what costs something to find out can be left out. */
  readonly isOn: boolean;
  /** The same name and labels give the same series. */
  counter<N extends NamesOf<'counter'>>(name: N, ...labels: LabelsOf<N>): Counter;
  gauge<N extends NamesOf<'gauge'>>(name: N, ...labels: LabelsOf<N>): Gauge;
  histogram<N extends NamesOf<'histogram'>>(name: N, ...labels: LabelsOf<N>): Histogram;
  /** Equal series of several sources are added up. The returned function ends it. */
  source(read: MetricSource): () => void;
}

export function sample<N extends NamesOf<'counter' | 'gauge'>>(
  name: N,
  value: number,
  ...[labels]: LabelsOf<N>
): Sample {
  return { name, value, labels: labels ?? {} };
}

const nothing = (): void => undefined;
const NO_COUNTER: Counter = { add: nothing };
const NO_GAUGE: Gauge = { set: nothing, add: nothing, remove: nothing };
const NO_HISTOGRAM: Histogram = { observe: nothing };

/** Where nobody looks. */
export const noMetrics: Metrics = {
  isOn: false,
  counter: () => NO_COUNTER,
  gauge: () => NO_GAUGE,
  histogram: () => NO_HISTOGRAM,
  source: () => nothing,
};
