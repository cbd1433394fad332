/**
 * What a worker process does: one worker actor for each run that is on, with everything that its
 * conversations need on this node. Owns the runs in hand.
 */
import { clusterDirectory } from '../../actors/directory.ts';
import {
  type ClusterRouterClient,
  createClusterRouterClient,
} from '../../actors/endpoint-router/cluster-client.ts';
import { createModelCalls, type ModelCalls } from '../../actors/endpoint-router/model-calls.ts';
import { NODE_PATH, nodeActor } from '../../actors/node.ts';
import { nodeEnvironment } from '../../config/dotenv.ts';
import type { Environment } from '../../config/environment.ts';
import { loadConfig } from '../../config/load.ts';
import { secretsOf } from '../../config/secrets-of.ts';
import { systemClock } from '../../kernel/clock.ts';
import { isDlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { FileLogger } from '../../kernel/file-logger.ts';
import type { RunId } from '../../kernel/ids.ts';
import { addedSecrets, keysIn } from '../endpoint-changes.ts';
import { type RunWorker, startRunWorker } from '../generation.ts';
import { meteredModel, meteredRouter } from '../metrics/metered-model.ts';
import { openNodeLogger } from '../metrics/node-logger.ts';
import { openNodeMetrics } from '../metrics/node-metrics.ts';
import { refreshedPort, type RunEndpoints, watchRunEndpoints } from '../run-endpoints.ts';
import { BUILD } from '../version.ts';
import { type ClusterNode, joinCluster } from './join.ts';
import { type RunKnowledge, openRunKnowledge } from './run-knowledge.ts';
import { ROUTER } from './names.ts';
import { openWorkerParts, type WorkerParts } from './run-parts.ts';
import { secretsIn } from './find-cluster.ts';
import type { WorkerOrders } from './worker-orders.ts';

export interface ClusterWorker {
  /** Gives the conversations back and leaves. */
  drain(): Promise<void>;
  /** Its process ends now: requests end, and the others need not wait to see whether it comes back. */
  leaveAtOnce(): void;
}

interface RunInHand {
  readonly parts: WorkerParts;
  readonly endpoints: RunEndpoints;
  readonly calls: ModelCalls;
  readonly knowledge: RunKnowledge;
  readonly worker: RunWorker;
}

const LOOK_MS = 500;
const STATUS_MS = 2_000;
/** A run that could not be taken part in is tried again. */
const RETRY_MS = 5_000;
const DRAIN_MS = 60_000;

/** @throws DlgforgeError when it cannot join. */
export async function startWorker(
  orders: Extract<WorkerOrders, { type: 'join' }>,
  processEnv: Environment,
): Promise<ClusterWorker> {
  const { name, address, logsDir } = orders;
  const environment = nodeEnvironment(processEnv, orders.folder);
  const logger = openNodeLogger({ folder: logsDir, node: name, secrets: secretsIn(address) });
  const { metrics: counted, ...place } = orders;
  const metrics = counted ? openNodeMetrics({ version: BUILD, nodeKind: 'worker' }) : null;
  metrics?.answerParent(process);
  const node = await joinCluster({
    ...place,
    kind: 'worker',
    runtimeDir: orders.runtimeDir ?? undefined,
    logger,
    ...(metrics === null ? {} : { metrics: metrics.metrics }),
    onStatus: (text) => {
      if (text !== null) logger.log('info', 'cluster', `[worker] ${text}`);
    },
    onRefused: (why) => {
      logger.log('error', 'cluster', `[worker] ${why.message}`);
      process.exit(1);
    },
    onCutOff: () => {
      const text = '[worker] this node alone cannot reach the store; it ends, and its work goes on elsewhere';
      logger.log('error', 'cluster', text);
      // Its node starts another, which is of use once it has the store.
      process.exit(1);
    },
  });
  return new Worker(node, orders, environment, logger);
}

class Worker implements ClusterWorker {
  readonly #node: ClusterNode;
  readonly #orders: Extract<WorkerOrders, { type: 'join' }>;
  readonly #environment: Environment;
  readonly #logger: FileLogger;
  readonly #router: ClusterRouterClient;
  readonly #runs = new Map<RunId, RunInHand>();
  readonly #failedAtMs = new Map<RunId, number>();
  readonly #timers: NodeJS.Timeout[];
  #looking: Promise<void> = Promise.resolve();
  #isLooking = false;
  #draining: Promise<void> | null = null;

  constructor(
    node: ClusterNode,
    orders: Extract<WorkerOrders, { type: 'join' }>,
    environment: Environment,
    logger: FileLogger,
  ) {
    this.#node = node;
    this.#orders = orders;
    this.#environment = environment;
    this.#logger = logger;
    const { system, membership } = node;
    const holder = system.spawn(
      NODE_PATH,
      nodeActor({
        node: node.name,
        tree: () => system.tree(),
        status: () => this.#status(),
        onDrain: () => void this.drain(),
        onStop: () => void this.drain(),
      }),
    );
    this.#router = createClusterRouterClient({
      messenger: system,
      leaderOf: () => membership.leaderOf(ROUTER),
      onLeaderChange: (listener) => membership.onChange(listener),
      inContact: () => membership.inContact(),
      onTakenForLost: (listener) =>
        membership.onChange(({ type, member }) => {
          if (type === 'mistaken') listener(member.card.node);
        }),
      name: node.name,
      holder,
      clock: systemClock,
    });
    const tellStatus = (): void => membership.announce({ status: this.#status() });
    this.#timers = [setInterval(() => this.#look(), LOOK_MS), setInterval(tellStatus, STATUS_MS)];
    this.#look();
  }

  drain(): Promise<void> {
    this.#draining ??= this.#drainAll();
    return this.#draining;
  }

  leaveAtOnce(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#router.close();
    this.#node.membership.leave();
  }

  async #drainAll(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#looking;
    await Promise.all([...this.#runs.values()].map(({ worker }) => worker.handBack(DRAIN_MS)));
    for (const id of this.#runs.keys()) await this.#leave(id);
    this.#router.close();
    await this.#node.close();
    this.#logger.close();
  }

  /** Takes part in what is on, and lets go of what is over. One look at a time. */
  #look(): void {
    if (this.#isLooking || this.#draining !== null) return;
    this.#isLooking = true;
    this.#looking = this.#lookOnce()
      .catch((error: unknown) =>
        this.#logger.log('warn', 'cluster', `[worker] cannot look for runs: ${messageOf(error)}`),
      )
      .finally(() => {
        this.#isLooking = false;
      });
  }

  async #lookOnce(): Promise<void> {
    const active = new Set((await this.#node.store.activeRuns()).map(({ id }) => id));
    for (const id of this.#runs.keys()) if (!active.has(id)) await this.#leave(id);
    for (const id of active) {
      const failedAtMs = this.#failedAtMs.get(id) ?? Number.NEGATIVE_INFINITY;
      if (this.#runs.has(id) || Date.now() - failedAtMs < RETRY_MS) continue;
      try {
        this.#runs.set(id, await this.#takePart(id));
        this.#failedAtMs.delete(id);
      } catch (error) {
        this.#failedAtMs.set(id, Date.now());
        const code = isDlgforgeError(error) ? error.code : 'unknown';
        this.#logger.log(
          'error',
          'cluster',
          `[worker] cannot take part in run ${id} (${code}): ${messageOf(error)}`,
        );
      }
    }
    for (const id of this.#failedAtMs.keys()) if (!active.has(id)) this.#failedAtMs.delete(id);
    this.#node.membership.announce({ status: this.#status() });
  }

  async #takePart(id: RunId): Promise<RunInHand> {
    const { store, system, membership, metrics } = this.#node;
    const logger = this.#logger;
    await using undo = new AsyncDisposableStack();
    const { configPath } = this.#orders;
    const opened = await openWorkerParts({
      store,
      runId: id,
      environment: this.#environment,
      logger,
      // Keys that stand in the file of whoever started this node count here.
      ...(configPath === null ? {} : { own: loadConfig({ configPath, env: this.#environment }).config }),
    });
    undo.defer(() => opened.close());
    logger.redact(secretsOf(opened.restored, opened.restored.keys));
    const endpoints = await watchRunEndpoints({
      store,
      runId: id,
      plan: opened.plan,
      keyOf: keysIn(opened.restored),
      logger,
      onChange: (plan) => {
        logger.redact(addedSecrets(plan));
        opened.port.setEndpoints(plan.endpoints);
      },
    });
    undo.defer(() => endpoints.stop());
    const port = refreshedPort(meteredModel(opened.port, metrics), endpoints);
    const knowledge = openRunKnowledge({
      node: this.#node,
      parts: opened,
      cacheDir: this.#orders.cacheDir,
      folder: this.#orders.folder,
      logger,
    });
    undo.defer(() => knowledge.close());
    const calls = createModelCalls({
      router: meteredRouter(this.#router.forRun(id), metrics),
      port,
      clock: systemClock,
      logger,
      patienceMs: opened.patienceMs,
      whyWaiting: (role) => endpoints.whyWaiting(role),
    });
    const worker = startRunWorker({
      system,
      store,
      parts: { ...opened, port },
      modelCalls: calls,
      directory: clusterDirectory({ membership, runId: id, retriever: () => knowledge.ref() }),
      queue: await this.#node.queue(),
      onGivenUp: (error) => {
        this.#logger.log('error', 'cluster', `[worker] run ${id} is tried again later: ${messageOf(error)}`);
        this.#failedAtMs.set(id, Date.now());
        void this.#leave(id);
      },
    });
    undo.move();
    return { parts: opened, endpoints, calls, knowledge, worker };
  }

  async #leave(id: RunId): Promise<void> {
    const run = this.#runs.get(id);
    this.#runs.delete(id);
    if (run === undefined) return;
    await run.worker.stop();
    run.endpoints.stop();
    await run.knowledge.close();
    await run.parts.close();
  }

  #status(): Readonly<Record<string, unknown>> {
    const runs = [...this.#runs.entries()];
    return {
      actors: this.#node.system.tree().length,
      conversations: runs.reduce((sum, [, { worker }]) => sum + worker.conversations(), 0),
      rssMb: Math.round(process.memoryUsage.rss() / 2 ** 20),
      indexes: runs.flatMap(([, { knowledge }]) => (knowledge.serves === null ? [] : [knowledge.serves])),
      lacks: [...new Set(runs.flatMap(([, { parts }]) => parts.lacks))],
      endpointTroubles: [...new Set(runs.flatMap(([, { endpoints }]) => endpoints.troubles))],
      calls: Object.fromEntries(runs.map(([id, { calls }]) => [id, calls.counted()])),
      ...(this.#failedAtMs.size === 0 ? {} : { failedRuns: [...this.#failedAtMs.keys()] }),
    };
  }
}
