/**
 * `dlgforge run` with `run.distributed.enabled`: checks everything here, attaches to a cluster or starts one
 * on this machine, submits the run, and follows it to its end while the files are written here. The run
 * itself belongs to the cluster: it goes on when this process is gone.
 */
import { secretsOf } from '../../config/secrets-of.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { CapabilityMemory } from '../../ports/model.ts';
import { type RunId } from '../../kernel/ids.ts';
import type { Store } from '../../ports/store.ts';
import type { Project } from '../project.ts';
import type { RunOptions } from '../run-options.ts';
import type { DetachedRun, RunReport } from '../run-report.ts';
import { type Preflight, preflight, prepareBackend, prepareDataset } from '../prepare-run.ts';
import { fingerprintOf } from '../fingerprint.ts';
import { openRun, wantedRun } from '../run-record.ts';
import { wantedBy } from './distributed-wanted.ts';
import { type ClusterAddress, findCluster } from './find-cluster.ts';
import { lastEventSeq } from './follow.ts';
import { followToEnd } from './follow-to-end.ts';
import { publishIndex } from './knowledge-publish.ts';
import type { Knowledge } from '../knowledge.ts';
import type { ClusterNode } from './join.ts';
import { startLocalCluster } from './local-cluster.ts';
import { startNode } from './node.ts';
import { type IndexPlace, specOf } from './run-spec.ts';

/** @throws DlgforgeError when the run cannot start, with everything undone that was started for it. */
export async function runDistributed(
  project: Project,
  options: RunOptions,
): Promise<RunReport | DetachedRun> {
  await using cleanUp = new AsyncDisposableStack();
  const checked = await preflight(project, options, cleanUp);
  await checkModels(project, checked);
  const { address, isOurs } = await attachOrStart(project, options);
  const node = await joinForRun(project, options, address, isOurs, cleanUp);
  const submitted = await submit(project, options, checked, node);
  if (options.detach === true) return { status: 'detached', runId: submitted.runId };
  return await followToEnd({ project, node, options, ...submitted });
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

async function attachOrStart(project: Project, { observer }: RunOptions): Promise<Attached> {
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
  return { address: await startLocalCluster(project, observer), isOurs: true };
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
  const { spawn, replicas_qa: first, replicas_complete: second } = config.run.distributed;
  const brings = !isOurs && options.detach !== true;
  const running = await startNode({
    address,
    kind: 'run',
    leads: brings && spawn.coordinator,
    workers: brings && spawn.workers ? Math.max(1, first + second) : 0,
    labels: {},
    gpus: 0,
    limits: storeLimits(project),
    environment: loaded.environment,
    runtimeDir: loaded.environment['XDG_RUNTIME_DIR'],
    logsDir: folders.logs,
    cacheDir: `${folders.state}/cache`,
    folder: project.root,
    configPath: loaded.configPath,
    untilIdle: false,
    isHead: false,
    command: options.command,
    logger,
    onStatus: (text) => options.observer.status(text),
  });
  cleanUp.defer(() => running.drain());
  return running.node;
}

export const storeLimits = ({ config }: Project) => ({
  poolMin: config.store.postgres.min_pool_size,
  poolMax: config.store.postgres.max_pool_size,
  statementTimeoutMs: config.store.postgres.statement_timeout_ms,
});

export interface Submitted {
  readonly runId: RunId;
  readonly datasetId: string;
  readonly resumed: boolean;
  /** Events up to this one belong to earlier parts of the run. */
  readonly after: number;
  /** It was on already: somebody else had submitted it. */
  readonly wasActive: boolean;
}

/** Writes down what every node needs; from then on the run is the cluster's. */
async function submit(
  project: Project,
  options: RunOptions,
  { assets, knowledge, requirements }: Preflight,
  node: ClusterNode,
): Promise<Submitted> {
  const { config, folders } = project;
  const { store } = node;
  const wanted = await wantedRun(store, config, folders.output);
  const active = await activeRun(store, wanted.id);
  if (active !== null) return active;
  await using cleanUp = new AsyncDisposableStack();
  options.observer.status('publishing the knowledge');
  const place = await placeOfKnowledge(project, knowledge, node);
  options.observer.status('submitting the run');
  const holder = {
    info: node.holder,
    isAlive: (other: { readonly processKey: string }) => node.membership.isAlive(other.processKey),
  };
  const { dataset, lease, legacy, release } = await prepareDataset(project, store, wanted, holder, cleanUp);
  const run = await openRun({
    ...options,
    store,
    wanted,
    earlier: legacy?.earlier ?? null,
    dataset,
    lease,
    config,
    fingerprint: fingerprintOf(config, assets, knowledge.retriever.info.fingerprint),
  });
  const after = await lastEventSeq(store, run.record.id);
  await store.setRunWanted(run.record.id, 'run');
  await store.saveRunSpec(
    run.record.id,
    lease,
    specOf({
      loaded: project.loaded,
      keyVariables: requirements.keyVariables,
      assets,
      knowledge: knowledge.retriever.info,
      place,
      command: options.command,
      secrets: secretsOf(project.loaded, requirements.keys),
    }),
  );
  await release();
  options.observer.status(null);
  return { runId: run.record.id, datasetId: dataset.id, resumed: run.resumed, after, wasActive: false };
}

/** A place that every node sees is opened there; any other index travels through the cluster. */
async function placeOfKnowledge(
  { config, folders, logger }: Project,
  { retriever }: Knowledge,
  node: ClusterNode,
): Promise<IndexPlace> {
  const { shared } = config.tools.retrieval.index;
  if (shared) return { type: 'place', uri: folders.index };
  const { fingerprint } = retriever.info;
  const blobs = await node.blobs();
  const name = await publishIndex({ blobs, persistDir: folders.index, fingerprint, logger });
  return { type: 'blob', name, folder: folders.index };
}

async function activeRun(store: Store, id: RunId): Promise<Submitted | null> {
  const active = (await store.activeRuns()).find((run) => run.id === id);
  if (active === undefined) return null;
  const after = await lastEventSeq(store, id);
  if (active.wanted === 'pause') await store.setRunWanted(id, 'run');
  return { runId: id, datasetId: active.datasetId, resumed: true, after, wasActive: true };
}
