/**
 * `dlgforge run` with `run.distributed.enabled`: checks everything here, attaches to a cluster or starts one
 * on this machine, submits the run, and follows it to its end while the files are written here. The run
 * itself belongs to the cluster: it goes on when this process is gone.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { secretsOf } from '../../config/secrets-of.ts';
import { withoutSecrets } from '../../config/show.ts';
import { DlgforgeError, isDlgforgeError } from '../../kernel/errors.ts';
import { canonicalJson } from '../../kernel/hash.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { CapabilityMemory } from '../../ports/model.ts';
import type { HolderInfo, RunRecord } from '../../ports/store.ts';
import { type Fingerprint, fingerprintOf } from '../fingerprint.ts';
import { type Preflight, preflight, prepareBackend, prepareDataset, required } from '../prepare-run.ts';
import type { Project } from '../project.ts';
import type { RunOptions } from '../run-options.ts';
import { openNodeMetrics } from '../metrics/node-metrics.ts';
import { BUILD } from '../version.ts';
import { openRun, refuseChanges, type WantedRun, wantedRun } from '../run-record.ts';
import type { DetachedRun, RunReport } from '../run-report.ts';
import type { ClusterNode } from './join.ts';
import { followToEnd } from './follow-to-end.ts';
import { checkNodesForServers } from '../vllm/submit-check.ts';
import { lastEventSeq } from './follow.ts';
import { publishKnowledge } from './knowledge-publish.ts';
import { specOf } from './run-spec.ts';
import { startLocalCluster } from './local-cluster.ts';
import { startNode } from './node.ts';
import { type ClusterAddress, findCluster } from './find-cluster.ts';
import { type Output, openOutput } from './output.ts';
import { wantedBy, workersBrought } from './distributed-wanted.ts';

/** @throws DlgforgeError when the run cannot start, with everything undone that was started for it. */
export async function runDistributed(
  project: Project,
  options: RunOptions,
): Promise<RunReport | DetachedRun> {
  await using started = new AsyncDisposableStack();
  await using cleanUp = new AsyncDisposableStack();
  const checked = await preflight(project, required(project, options), options, cleanUp);
  await checkModels(project, checked);
  const { node, isOurs } = await joinSome(project, options, started, cleanUp);
  await untilWarm(node, options);
  if (options.detach === true && !isOurs) refuseWithoutNodes(node);
  if (options.stop.aborted) throw new DlgforgeError('cancelled', 'Stopped before the run was submitted.');
  const submitted = await submit(project, options, checked, node, cleanUp);
  // The run is on: what was started for it ends with it, whatever becomes of this process.
  started.move();
  if (options.detach === true) return { status: 'detached', runId: submitted.runId };
  return await followToEnd({ project, node, options, ...submitted });
}

/** A cluster that was found may end at the same moment: one that another run had started for itself. */
async function joinSome(
  project: Project,
  options: RunOptions,
  started: AsyncDisposableStack,
  cleanUp: AsyncDisposableStack,
): Promise<{ readonly node: ClusterNode; readonly isOurs: boolean }> {
  const once = async () => {
    const { address, isOurs } = await attachOrStart(project, options, started);
    return { node: await joinForRun(project, options, address, isOurs, cleanUp), isOurs };
  };
  try {
    return await once();
  } catch (error) {
    if (!isDlgforgeError(error, 'transport') || project.config.run.distributed.address !== 'auto')
      throw error;
    return await once();
  }
}

const WARM_MS = 15_000;
const LOOK_MS = 50;

/** Only then is it known who else is there, and whose lease is a living leader's. */
async function untilWarm({ membership }: ClusterNode, { observer }: RunOptions): Promise<void> {
  observer.status('waiting until this node knows the others');
  const deadline = Date.now() + WARM_MS;
  while (!membership.isWarm()) {
    if (Date.now() > deadline)
      throw new DlgforgeError(
        'transport',
        'This node has no contact with the cluster through NATS. Run the command again when it is back.',
      );
    await sleep(LOOK_MS);
  }
}

/** Nobody would go on with a run whose submitter leaves. */
function refuseWithoutNodes({ membership }: ClusterNode): void {
  const nodes = membership.members().filter(({ card }) => card.kind === 'agent');
  if (nodes.some(({ card }) => Number(card.status['workersMax'] ?? 0) > 0)) return;
  throw new DlgforgeError(
    'transport',
    `${nodes.length === 0 ? 'This cluster has no node' : 'No node of this cluster has workers'} that would go on with the run: start one with \`dlgforge cluster start\`, or run without --detach.`,
  );
}

/** What an endpoint refuses is remembered once the run is on; a check before it remembers nothing. */
const noMemory: CapabilityMemory = {
  load: () => Promise.resolve(new Map()),
  remember: () => Promise.resolve(),
};

async function checkModels(project: Project, { requirements }: Preflight): Promise<void> {
  const backend = await prepareBackend(project, requirements, { capabilities: noMemory });
  await backend.close();
}

interface Attached {
  readonly address: ClusterAddress;
  /** Started for this run: its node brings the coordinator and the workers. */
  readonly isOurs: boolean;
}

/** What it starts is stopped with `started`. */
async function attachOrStart(
  project: Project,
  { observer, stop: asked }: RunOptions,
  started: AsyncDisposableStack,
): Promise<Attached> {
  const wanted = wantedBy(project);
  observer.status('looking for a cluster');
  const found = await findCluster(wanted);
  if (found !== null) return { address: found, isOurs: false };
  if (!project.config.run.distributed.auto_start_local) {
    throw new DlgforgeError(
      'transport',
      'No cluster is running on this machine, and run.distributed.auto_start_local is false. Start one with `dlgforge cluster start --head`, or name one: run.distributed.address: nats://host:4222 (DLGFORGE_NATS_URL).',
    );
  }
  if (workersBrought(project) === 0) {
    throw new DlgforgeError(
      'config',
      'No cluster is running on this machine, and one that is started for this run would have no workers: run.distributed.spawn.workers is false, or replicas_qa and replicas_complete are both 0. Let it bring some, or start nodes that do with `dlgforge cluster start --head`.',
    );
  }
  const cluster = await startLocalCluster(project, observer, asked);
  started.defer(() => cluster.stop());
  return { address: cluster.address, isOurs: true };
}

/** This process as a node: one that may lead and brings workers, or one that only looks on. */
async function joinForRun(
  project: Project,
  options: RunOptions,
  address: ClusterAddress,
  isOurs: boolean,
  cleanUp: AsyncDisposableStack,
): Promise<ClusterNode> {
  const { config, loaded, folders, logger } = project;
  const { spawn } = config.run.distributed;
  const brings = !isOurs && options.detach !== true;
  const metrics =
    options.metricsPort === undefined ? null : openNodeMetrics({ version: BUILD, nodeKind: 'run' });
  if (metrics !== null) cleanUp.defer(() => metrics.close());
  const running = await startNode({
    address,
    kind: 'run',
    leads: brings && spawn.coordinator,
    workers: brings ? workersBrought(project) : 0,
    labels: {},
    gpus: 0,
    serversDir: null,
    limits: storeLimits(project),
    environment: loaded.environment,
    runtimeDir: loaded.environment['XDG_RUNTIME_DIR'],
    logsDir: folders.logs,
    cacheDir: join(folders.state, 'cache'),
    folder: project.root,
    configPath: loaded.configPath,
    untilIdle: false,
    isHead: false,
    ...(metrics === null ? {} : { metrics: metrics.metrics }),
    command: options.command,
    logger,
    onStatus: (text) => options.observer.status(text),
  });
  cleanUp.defer(() => running.drain());
  if (metrics !== null && options.metricsPort !== undefined) {
    const { port } = await metrics.serve({
      port: options.metricsPort,
      workers: () => running.workers.running,
      trouble: () => (running.node.membership.inContact() ? null : 'not in contact with NATS'),
    });
    logger.log('info', 'run', `[run] metrics: http://127.0.0.1:${port}/metrics`);
  }
  return running.node;
}

const storeLimits = ({ config }: Project) => ({
  poolMin: config.store.postgres.min_pool_size,
  poolMax: config.store.postgres.max_pool_size,
  statementTimeoutMs: config.store.postgres.statement_timeout_ms,
});

interface Submitted {
  readonly runId: RunId;
  readonly resumed: boolean;
  /** Events up to this one belong to earlier parts of the run. */
  readonly after: number;
  readonly output: Output;
}

/** Writes down what every node needs; from then on the run is the cluster's. */
async function submit(
  project: Project,
  options: RunOptions,
  { assets, knowledge, requirements }: Preflight,
  node: ClusterNode,
  cleanUp: AsyncDisposableStack,
): Promise<Submitted> {
  const { config, folders, loaded } = project;
  const { store } = node;
  const wanted = await wantedRun(store, config, folders.output);
  const fingerprint = fingerprintOf(config, assets, knowledge.retriever.info.fingerprint);
  const active = (await store.activeRuns()).find((run) => run.id === wanted.id);
  if (active !== undefined) return await joinActive(project, options, node, wanted, fingerprint, cleanUp);
  if (config.llm.backend === 'vllm_managed') {
    options.observer.status('looking for nodes that can run the vLLM servers');
    await checkNodesForServers(node, config, wanted.id, options.stop);
  }
  options.observer.status('publishing the knowledge');
  const place = await publishKnowledge({ project, knowledge, node });
  options.observer.status('submitting the run');
  const after = await lastEventSeq(store, wanted.id);
  const spec = specOf({
    loaded,
    keyVariables: requirements.keyVariables,
    assets,
    knowledge: knowledge.retriever.info,
    place,
    command: options.command,
    submittedAfter: after,
    secrets: secretsOf(loaded, requirements.keys),
  });
  const isAlive = (other: HolderInfo): boolean =>
    !node.membership.isWarm() || node.membership.isAlive(other.processKey);
  const holder = { info: node.holder, isAlive };
  const { dataset, lease, legacy, release } = await prepareDataset(project, store, wanted, holder, cleanUp);
  const output = await openOutput(
    project,
    store,
    { id: wanted.id, dataset, resumed: wanted.stored !== null },
    options.command,
    cleanUp,
  );
  if (wanted.stored !== null) {
    // A run is on as soon as its status says so: what it is comes first.
    refuseChanges(wanted.stored, fingerprint, options.allowConfigChange);
    await store.setRunWanted(wanted.id, 'run');
    await store.saveRunSpec(wanted.id, lease, spec);
  }
  const run = await openRun({
    ...options,
    store,
    wanted,
    earlier: legacy?.earlier ?? null,
    dataset,
    lease,
    config,
    fingerprint,
  });
  if (wanted.stored === null) await store.saveRunSpec(wanted.id, lease, spec);
  await output.files.writeState(run.resumed ? 'resumed' : 'started');
  await release();
  options.observer.status(null);
  return { runId: run.record.id, resumed: run.resumed, after, output };
}

/** Somebody has submitted it already, and it is on: it is followed, with the settings that it has. */
async function joinActive(
  project: Project,
  options: RunOptions,
  { store }: ClusterNode,
  { id, stored }: WantedRun,
  fingerprint: Fingerprint,
  cleanUp: AsyncDisposableStack,
): Promise<Submitted> {
  const record = stored as RunRecord;
  refuseChanges(record, fingerprint, false);
  if (canonicalJson(record.config) !== canonicalJson(withoutSecrets(project.config))) {
    project.logger.log(
      'warn',
      'run',
      `[run] ${id} is on already and goes on with the settings that it was submitted with; to change them, cancel it first (dlgforge runs cancel ${id})`,
    );
  }
  const after = await lastEventSeq(store, id);
  await store.setRunWanted(id, 'run');
  const dataset = await store.openDataset(record.datasetId, project.folders.output);
  const output = await openOutput(project, store, { id, dataset, resumed: true }, options.command, cleanUp);
  return { runId: id, resumed: true, after, output };
}
