import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { METRIC_CATALOGUE, type MetricSpec } from '../../../src/kernel/metric-catalogue.ts';

const text = readFileSync(new URL('../../../docs/metrics.md', import.meta.url), 'utf8');
const ROW = /^\| `(dlgforge_\w+)` \| (counter|gauge|histogram) \| ([^|]*) \| ([^|]*) \|$/gm;
const rows = [...text.matchAll(ROW)].map(([, name = '', type = '', labels = '', meaning = '']) => ({
  name,
  type,
  labels: labels === '–' ? [] : labels.split(', ').map((label) => label.replaceAll('`', '')),
  meaning,
}));

test('the table has every metric that a node can serve, in its order, with type, labels and meaning', () => {
  const served = Object.entries(METRIC_CATALOGUE).map(([name, spec]: [string, MetricSpec]) => ({
    name,
    type: spec.type,
    labels: [...spec.labels],
    meaning: spec.help,
  }));
  expect(rows).toEqual(served);
});

test('what to watch for names only metrics that there are', () => {
  for (const [, name = ''] of text.matchAll(/(dlgforge_\w+)/g))
    expect(Object.keys(METRIC_CATALOGUE)).toContain(name.replace(/_(bucket|sum|count)$/, ''));
});

test('units are said in the names: seconds, bytes, and totals of counters alone', () => {
  for (const [name, spec] of Object.entries(METRIC_CATALOGUE)) {
    expect(name.endsWith('_total'), name).toBe(spec.type === 'counter');
    if (spec.type === 'histogram') expect(name).toMatch(/_seconds$/);
  }
});
