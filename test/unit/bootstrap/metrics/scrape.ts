/** Looks at a node as Prometheus does: over HTTP, by the text format. */
import { expect, onTestFinished } from 'vitest';
import {
  type NodeMetrics,
  openNodeMetrics,
  type ServeOptions,
} from '../../../../src/bootstrap/metrics/node-metrics.ts';

export interface Scrape {
  /** By the line's name and labels, as written: `dlgforge_actors{process="main",kind="echo"}`. */
  readonly values: ReadonlyMap<string, number>;
  /** Name → type, of those that have series. */
  readonly types: ReadonlyMap<string, string>;
  /** The value of the only series that has these labels; undefined when there is none. */
  readonly value: (name: string, labels?: Readonly<Record<string, string>>) => number | undefined;
}

const SERIES = /^([a-z_][a-z0-9_]*)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)$/;

export function parse(text: string): Scrape {
  const values = new Map<string, number>();
  const types = new Map<string, string>();
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.slice(0, -1).split('\n')) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) types.set(type[1] as string, type[2] as string);
    if (line.startsWith('#')) continue;
    const found = SERIES.exec(line);
    expect(found, line).not.toBeNull();
    const [, name = '', labels = '', value = ''] = found ?? [];
    const key = `${name}{${labels}}`;
    expect(values.has(key), `${key} twice`).toBe(false);
    values.set(key, value === '+Inf' ? Infinity : Number(value));
    expect(types.has(name.replace(/_(bucket|sum|count)$/, '')) || types.has(name), name).toBe(true);
  }
  return {
    values,
    types,
    value(name, labels = {}) {
      const wanted = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
      const hits = [...values].filter(
        ([key]) => key.startsWith(`${name}{`) && wanted.every((pair) => key.includes(pair)),
      );
      expect(hits.length, `series of ${name}`).toBeLessThanOrEqual(1);
      return hits[0]?.[1];
    },
  };
}

export interface Served {
  readonly node: NodeMetrics;
  readonly url: string;
  readonly scrape: () => Promise<Scrape>;
}

export async function serve(options: Partial<ServeOptions> = {}): Promise<Served> {
  const node = openNodeMetrics({ version: '1.0.0', nodeKind: 'agent' });
  onTestFinished(() => node.close());
  const { port } = await node.serve({ port: 0, ...options });
  const url = `http://127.0.0.1:${port}`;
  return {
    node,
    url,
    async scrape() {
      const response = await fetch(`${url}/metrics`);
      expect(response.status).toBe(200);
      return parse(await response.text());
    },
  };
}
