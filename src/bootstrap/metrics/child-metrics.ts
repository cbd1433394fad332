/**
 * A node's workers are processes of their own, and one port tells of them all: the parent asks them over
 * the channel that it has started them with. A worker that does not answer in time is left out of a look.
 */
import { METRIC_CATALOGUE } from '../../kernel/metric-catalogue.ts';
import type { ProcessSeries } from './exposition.ts';
import type { Registry } from './registry.ts';
import type { SeriesSnapshot } from './series.ts';

/** Either end of a channel between processes: `process`, or a `ChildProcess`. */
export interface Channel {
  readonly connected: boolean;
  send?(message: unknown, sent?: (error: Error | null) => void): unknown;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  off(event: 'message', listener: (message: unknown) => void): unknown;
}

interface MetricsAsked {
  readonly type: 'MetricsAsked';
}

interface MetricsTold {
  readonly type: 'MetricsTold';
  readonly series: readonly SeriesSnapshot[];
}

const TIMEOUT_MS = 1_500;

/** The worker's end. The returned function ends it. */
export function tellMetrics(registry: Registry, channel: Channel): () => void {
  const tell = async (): Promise<void> => {
    const series = await registry.look();
    if (channel.connected) channel.send?.({ type: 'MetricsTold', series } satisfies MetricsTold, ignored);
  };
  const listener = (message: unknown): void => {
    if (typeOf(message) === 'MetricsAsked') void tell();
  };
  channel.on('message', listener);
  return () => {
    channel.off('message', listener);
  };
}

/** The parent's end. `name` becomes the label `process`. */
export async function childMetrics(
  children: Iterable<{ readonly name: string; readonly channel: Channel }>,
  timeoutMs: number = TIMEOUT_MS,
): Promise<readonly ProcessSeries[]> {
  const asked = [...children].map(async ({ name, channel }) => ({
    process: name,
    series: await ask(channel, timeoutMs),
  }));
  return Promise.all(asked);
}

function ask(channel: Channel, timeoutMs: number): Promise<readonly SeriesSnapshot[]> {
  const { promise, resolve } = Promise.withResolvers<readonly SeriesSnapshot[]>();
  const listener = (message: unknown): void => {
    if (typeOf(message) === 'MetricsTold') resolve(seriesOf(message as Partial<MetricsTold>));
  };
  const timer = setTimeout(() => resolve([]), timeoutMs);
  channel.on('message', listener);
  if (channel.connected) channel.send?.({ type: 'MetricsAsked' } satisfies MetricsAsked, ignored);
  else resolve([]);
  return promise.finally(() => {
    clearTimeout(timer);
    channel.off('message', listener);
  });
}

/** The channel closed meanwhile: the process has ended, and whoever watches it says so. */
const ignored = (): void => undefined;

const typeOf = (message: unknown): unknown =>
  message !== null && typeof message === 'object' && 'type' in message ? message.type : undefined;

/** Both processes run the same program, but a worker may be older than its parent's files. */
function seriesOf({ series }: Partial<MetricsTold>): readonly SeriesSnapshot[] {
  return Array.isArray(series) ? series.filter(({ name }) => name in METRIC_CATALOGUE) : [];
}
