/**
 * A node of the cluster, as `cluster start` and an attached `run` have it: joins, contends for what has to
 * be led, and keeps worker processes while there is something to work on.
 */
import { availableParallelism, freemem, loadavg } from 'node:os';
import { NODE_PATH, nodeActor } from '../../actors/node.ts';
import type { Environment } from '../../config/environment.ts';
import type { RunId } from '../../kernel/ids.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { NodeKind } from '../../ports/membership.ts';
import type { ClusterAddress } from './find-cluster.ts';
import { gpusOf } from './gpus.ts';
import { type ClusterNode, joinCluster, type JoinOptions, type StoreLimits } from './join.ts';
import { type Leading, startLeading } from './leading.ts';
import { createWorkerPool, type WorkerPool } from './worker-pool.ts';

export interface NodeOptions
  extends Pick<JoinOptions, 'logger' | 'onStatus' | 'command' | 'runtimeDir' | 'metrics'> {
  readonly address: ClusterAddress;
  readonly kind: Extract<NodeKind, 'agent' | 'run'>;
  readonly name?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly limits: Partial<StoreLimits>;
  readonly environment: Environment;
  /** May lead runs and the router. */
  readonly leads: boolean;
  /** Worker processes while a run is on. */
  readonly workers: number;
  /** GPUs that it offers; null: what nvidia-smi finds. */
  readonly gpus: number | null;
  readonly logsDir: string;
  readonly cacheDir: string;
  /** Where `.env` files are looked for. */
  readonly folder: string;
  /** A configuration whose own keys count in the workers; null: the environment alone. */
  readonly configPath: string | null;
  /** Ends by itself when the runs that it was started for are over. */
  readonly untilIdle: boolean;
  /** It brought the cluster's servers, so it is stopped last. */
  readonly isHead: boolean;
}

export interface RunningNode {
  readonly node: ClusterNode;
  readonly workers: WorkerPool;
  /** Finishes its steps, hands its conversations over, leaves. Idempotent. */
  drain(): Promise<void>;
  /** Resolves when it has left, for whatever reason. */
  readonly ended: Promise<void>;
}

const STATUS_MS = 2_000;
/** Appends travel in groups: more connections of a worker would do nothing. */
const WORKER_POOL_MAX = 6;
/** Workers of an idle node cost memory; starting them anew takes half a second. */
const IDLE_WORKERS_MS = 60_000;
const IDLE_NODE_MS = 3_000;
const FIRST_RUN_MS = 60_000;
const DRAIN_GRACE_MS = 60_000;

/** @throws DlgforgeError when it cannot join. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { address, kind, labels, logger, workers, leads } = options;
  const gpus = options.gpus ?? (kind === 'agent' ? (await gpusOf()).length : 0);
  const startedAtMs = Date.now();
  const node = await joinCluster({ ...options, status: { workers: 0, workersMax: workers, gpus } });
  const ended = Promise.withResolvers<void>();
  let active: readonly RunId[] = [];
  let idleSinceMs = startedAtMs;
  let hadRun = false;
  let draining: Promise<void> | null = null;

  const pool: WorkerPool = createWorkerPool({
    parent: node.name,
    orders: {
      parent: node.name,
      address,
      labels,
      limits: {
        ...options.limits,
        poolMax: Math.min(options.limits.poolMax ?? WORKER_POOL_MAX, WORKER_POOL_MAX),
      },
      runtimeDir: options.runtimeDir ?? null,
      logsDir: options.logsDir,
      cacheDir: options.cacheDir,
      folder: options.folder,
      configPath: options.configPath,
      command: options.command,
      metrics: options.metrics?.isOn ?? false,
    },
    environment: options.environment,
    logger,
    onEnd: (worker) => node.membership.declareLost(worker),
  });

  const status = (): Readonly<Record<string, unknown>> => ({
    workers: pool.running.length,
    workersMax: workers,
    gpus,
    cpus: availableParallelism(),
    load: Number(loadavg()[0]?.toFixed(2)),
    freeMb: Math.round(freemem() / 2 ** 20),
    rssMb: Math.round(process.memoryUsage.rss() / 2 ** 20),
    draining: draining !== null,
    ...(options.isHead ? { head: true } : {}),
  });

  const onActive = (runs: readonly RunId[]): void => {
    active = runs;
    if (draining !== null) return;
    if (runs.length > 0) {
      hadRun = true;
      idleSinceMs = Number.POSITIVE_INFINITY;
      pool.resize(workers);
    } else if (idleSinceMs === Number.POSITIVE_INFINITY) idleSinceMs = Date.now();
  };

  const drain = (): Promise<void> => {
    draining ??= (async () => {
      clearInterval(timer);
      node.membership.announce({ status: status() });
      await pool.drain(DRAIN_GRACE_MS);
      await leading.stop();
      await node.close();
    })().finally(() => ended.resolve());
    return draining;
  };

  const timer = setInterval(() => {
    node.membership.announce({ status: status() });
    if (active.length > 0) return;
    const idleMs = Date.now() - idleSinceMs;
    if (idleMs > IDLE_WORKERS_MS) pool.resize(0);
    if (options.untilIdle && idleMs > (hadRun ? IDLE_NODE_MS : FIRST_RUN_MS)) void drain();
  }, STATUS_MS);

  const leading: Leading = leads
    ? startLeading({ node, environment: options.environment, onActive })
    : watchRuns(node, onActive);
  node.system.spawn(
    NODE_PATH,
    nodeActor({
      node: node.name,
      tree: () => node.system.tree(),
      status,
      onDrain: () => void drain(),
      onStop: () => void drain(),
    }),
  );
  return { node, workers: pool, drain, ended: ended.promise };
}

/** A node that leads nothing still has to know when its workers are wanted. */
function watchRuns(node: ClusterNode, onActive: (runs: readonly RunId[]) => void): Leading {
  const look = (): void => {
    node.store.activeRuns().then(
      (runs) => onActive(runs.map(({ id }) => id)),
      (error: unknown) =>
        node.logger.log('warn', 'cluster', `[cluster] cannot look for runs: ${messageOf(error)}`),
    );
  };
  const timer = setInterval(look, STATUS_MS);
  look();
  return {
    look,
    stop() {
      clearInterval(timer);
      return Promise.resolve();
    },
  };
}
