/**
 * Snapshots as Prometheus reads them: the text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 */
import { METRIC_CATALOGUE, type MetricSpec } from '../../kernel/metric-catalogue.ts';
import type { MetricName } from '../../kernel/metrics.ts';
import type { SeriesSnapshot } from './series.ts';

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** What one process has to tell. */
export interface ProcessSeries {
  /** Label `process`: `main`, or the name of a worker process of this node. */
  readonly process: string;
  readonly series: readonly SeriesSnapshot[];
}

export function exposition(processes: readonly ProcessSeries[]): string {
  const lines = new Map<string, string[]>();
  for (const { process, series } of processes) {
    for (const each of series) {
      const own = lines.get(each.name) ?? [];
      lines.set(each.name, own);
      own.push(...linesOf(each, process));
    }
  }
  // In the order of the catalogue; a name that this version does not know is left out.
  const names = Object.keys(METRIC_CATALOGUE) as MetricName[];
  return names.flatMap((name) => section(name, lines.get(name) ?? [])).join('');
}

/** Also without series: what can come stands there from the start. */
function section(name: MetricName, lines: readonly string[]): string[] {
  const { help, type } = METRIC_CATALOGUE[name];
  return [`# HELP ${name} ${help}\n`, `# TYPE ${name} ${type}\n`, ...lines];
}

function linesOf(series: SeriesSnapshot, process: string): string[] {
  const { name } = series;
  const labels = { process, ...series.labels };
  if ('value' in series) return [line(name, labels, series.value)];
  const spec: MetricSpec | undefined = METRIC_CATALOGUE[name];
  if (spec?.type !== 'histogram') return [];
  let total = 0;
  const buckets = series.counts.map((count, place) => {
    total += count;
    return line(`${name}_bucket`, { ...labels, le: number(spec.buckets[place] ?? Infinity) }, total);
  });
  return [...buckets, line(`${name}_sum`, labels, series.sum), line(`${name}_count`, labels, total)];
}

function line(name: string, labels: Readonly<Record<string, string>>, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
  return `${name}{${pairs.join(',')}} ${number(value)}\n`;
}

const number = (value: number): string =>
  value === Infinity ? '+Inf' : value === -Infinity ? '-Inf' : String(value);

const escaped = (text: string): string =>
  text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
