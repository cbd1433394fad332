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
import type { Door } from './head-door.ts';
import { startNodeServers } from '../vllm/node-servers.ts';
import { watchIdle } from './idle.ts';
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
  /** Where the model servers of this machine are written down; null: it starts none. */
  readonly serversDir: string | null;
  readonly logsDir: string;
  readonly cacheDir: string;
  /** Where `.env` files are looked for. */
  readonly folder: string;
  /** A configuration whose own keys count in the workers; null: the environment alone. */
  readonly configPath: string | null;
  /** Ends by itself when the runs that it was started for are over and nobody else is there. */
  readonly untilIdle: boolean;
  /** How others find the cluster of a head: opened when it has joined, closed before it leaves. */
  readonly door?: Door;
  /** It brought the cluster's servers, so it is stopped last. */
  readonly isHead: boolean;
}

export interface RunningNode {
  readonly node: ClusterNode;
  readonly workers: WorkerPool;
  /** Finishes its steps, hands its conversations over, leaves. Idempotent. */
  drain(): Promise<void>;
  /** Leaves soon; also when it drains already. What is in hand is done elsewhere. */
  stop(): Promise<void>;
  /** The run that it was started for does not come: with `untilIdle` it ends unless others are there. */
  unwanted(): void;
  /** Resolves when it has left, for whatever reason; rejects when something of that failed. */
  readonly ended: Promise<void>;
}

const STATUS_MS = 2_000;
/** Appends travel in groups: more connections of a worker would do nothing. */
const WORKER_POOL_MAX = 6;
/** Workers of an idle node cost memory; starting them anew takes half a second. */
const IDLE_WORKERS_MS = 60_000;
const DRAIN_GRACE_MS = 60_000;
/** For answers that come in a moment; what has been answered is in the journal. */
const STOP_GRACE_MS = 3_000;

/** @throws DlgforgeError when it cannot join. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { address, kind, labels, logger, workers, leads } = options;
  const startedAtMs = Date.now();
  // From its first heartbeat on: whoever stops all nodes stops the head last.
  const head = options.isHead ? { head: true } : {};
  const node = await joinCluster({
    ...options,
    status: { workers: 0, workersMax: workers, ...head },
  });
  const { serversDir } = options;
  const servers = serversDir === null ? null : await startNodeServers({ ...options, node, serversDir });
  const ended = Promise.withResolvers<void>();
  let active: readonly RunId[] = [];
  let idleSinceMs = startedAtMs;
  let handingOver: Promise<void> | null = null;
  let hasHandedOver = false;
  let leaving: Promise<void> | null = null;

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
    actors: node.system.tree().length,
    ...servers?.status(),
    cpus: availableParallelism(),
    load: Number(loadavg()[0]?.toFixed(2)),
    freeMb: Math.round(freemem() / 2 ** 20),
    rssMb: Math.round(process.memoryUsage.rss() / 2 ** 20),
    draining: handingOver !== null,
    ...(hasHandedOver ? { drained: true } : {}),
    ...head,
  });

  const onActive = (runs: readonly RunId[]): void => {
    active = runs;
    servers?.runsOn(runs);
    if (handingOver !== null) return;
    if (runs.length > 0) {
      idleSinceMs = Number.POSITIVE_INFINITY;
      pool.resize(workers);
    } else if (idleSinceMs === Number.POSITIVE_INFINITY) idleSinceMs = Date.now();
  };

  /** Its failure is told by `leaving`. */
  const begin = (step: Promise<void>): void => void step.catch(() => undefined);

  /** Others go on with what it had. Asked again, the shorter grace counts. */
  const handOver = (graceMs: number): Promise<void> => {
    const workersGone = handingOver === null ? null : pool.drain(graceMs);
    handingOver ??= (async () => {
      idle?.stop();
      servers?.leave();
      await using steps = new AsyncDisposableStack();
      steps.defer(() => {
        hasHandedOver = true;
        node.membership.announce({ status: status() });
      });
      // Work in hand may need them to its end.
      steps.defer(() => servers?.stop());
      steps.defer(() => leading.stop());
      steps.defer(() => pool.drain(graceMs));
      steps.defer(() => options.door?.close());
      node.membership.announce({ status: status() });
    })();
    return workersGone === null ? handingOver : Promise.all([workersGone, handingOver]).then(() => undefined);
  };

  const leave = (graceMs: number): Promise<void> => {
    const handedOver = handOver(graceMs);
    begin(handedOver);
    if (leaving !== null) return leaving;
    leaving = (async () => {
      await using steps = new AsyncDisposableStack();
      steps.defer(() => node.close());
      steps.defer(() => clearInterval(timer));
      steps.defer(() => handedOver);
    })();
    leaving.then(ended.resolve, (error: unknown) => {
      logger.log('error', 'cluster', `[cluster] the node could not leave in order: ${messageOf(error)}`);
      ended.reject(error);
    });
    return leaving;
  };
  // Whoever waits for the end hears of a failure there, and the log has it.
  ended.promise.catch(() => undefined);
  // The node of an attached run leaves with its run: it follows it still, and writes its files.
  const asked = (graceMs: number): void => begin(kind === 'run' ? handOver(graceMs) : leave(graceMs));

  const timer = setInterval(() => {
    node.membership.announce({ status: status() });
    if (active.length === 0 && Date.now() - idleSinceMs > IDLE_WORKERS_MS) pool.resize(0);
  }, STATUS_MS);

  node.membership.announce({ status: status() });
  const leading: Leading = leads
    ? startLeading({ node, environment: options.environment, onActive })
    : watchRuns(node, onActive);
  node.system.spawn(
    NODE_PATH,
    nodeActor({
      node: node.name,
      tree: () => node.system.tree(),
      status,
      onDrain: () => asked(DRAIN_GRACE_MS),
      onStop: () => asked(STOP_GRACE_MS),
    }),
  );
  const idle = options.untilIdle
    ? watchIdle({
        membership: node.membership,
        isBusy: () => active.length > 0,
        door: options.door ?? null,
        onIdle: () => begin(leave(DRAIN_GRACE_MS)),
        onError: (error) => logger.log('warn', 'cluster', `[cluster] the address file: ${messageOf(error)}`),
      })
    : null;
  const running: RunningNode = {
    node,
    workers: pool,
    drain: () => leave(DRAIN_GRACE_MS),
    stop: () => leave(STOP_GRACE_MS),
    unwanted: () => idle?.unwanted(),
    ended: ended.promise,
  };
  try {
    await options.door?.open();
  } catch (error) {
    await running.stop();
    throw error;
  }
  return running;
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
