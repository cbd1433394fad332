/**
 * The metrics of a node's process from its start to its end: the registry that its parts are given, the
 * process itself as the first source, and one port for the process and its workers.
 */
import type { Metrics } from '../../kernel/metrics.ts';
import { type Channel, childMetrics, tellMetrics } from './child-metrics.ts';
import { openRegistry } from './registry.ts';
import { type MetricsServer, startMetricsServer } from './metrics-server.ts';
import { processSource } from './sources.ts';

export interface NodeMetricsOptions {
  /** Of the program. */
  readonly version: string;
  /** agent, worker, run or client. */
  readonly nodeKind: string;
}

export interface ServeOptions {
  /** 0: any free one. */
  readonly port: number;
  /** @default 127.0.0.1 */
  readonly host?: string;
  /** The worker processes that run now; `name` is the same for a worker and its replacement. */
  readonly workers?: () => Iterable<{ readonly name: string; readonly channel: Channel }>;
  /** Why this node cannot do its work now, for /healthz; null when it can. */
  readonly trouble?: () => string | null;
}

export interface NodeMetrics {
  readonly metrics: Metrics;
  /** `--metrics-port`. @throws DlgforgeError `usage` when the port cannot be had. */
  serve(options: ServeOptions): Promise<MetricsServer>;
  /** A worker's end: its parent may ask over the channel that it has started it with. */
  answerParent(channel: Channel): void;
  /** Ends what this has started. Idempotent. */
  close(): Promise<void>;
}

const OWN_NAME = 'main';

export function openNodeMetrics(options: NodeMetricsOptions): NodeMetrics {
  const registry = openRegistry();
  const ownProcess = processSource(options);
  registry.source(ownProcess.read);
  let server: MetricsServer | null = null;
  let endAnswers = (): void => undefined;
  return {
    metrics: registry,
    async serve({ port, host, trouble, workers = () => [] }) {
      server = await startMetricsServer({
        port,
        ...(host === undefined ? {} : { host }),
        ...(trouble === undefined ? {} : { trouble }),
        look: async () => {
          const [own, others] = await Promise.all([registry.look(), childMetrics(workers())]);
          return [{ process: OWN_NAME, series: own }, ...others];
        },
      });
      return server;
    },
    answerParent(channel) {
      endAnswers();
      endAnswers = tellMetrics(registry, channel);
    },
    async close() {
      endAnswers();
      ownProcess.stop();
      await server?.close();
    },
  };
}
