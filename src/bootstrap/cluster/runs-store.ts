/** The store that a command about runs means, opened without joining a cluster. */
import { existsSync } from 'node:fs';
import type { Environment } from '../../config/environment.ts';
import { loadConfig } from '../../config/load.ts';
import { silentLogger } from '../../kernel/logger.ts';
import type { Store } from '../../ports/store.ts';
import { type Project, projectWithoutLogs } from '../project.ts';
import { hasStore, openProjectStore } from '../project-store.ts';
import { noSuchRun } from '../../store/store-errors.ts';
import { detailsOf, type RunDetails, runsOf, type RunSummary } from '../runs.ts';
import { noCluster } from './client.ts';
import { wantedBy } from './distributed-wanted.ts';
import { type ClusterAddress, findCluster, wantedFromFlags } from './find-cluster.ts';
import { openClusterStore } from './join.ts';

export interface StoreFlags {
  /** A configuration file; with `run.distributed.enabled` it names its cluster. */
  readonly config?: string;
  readonly address?: string;
  readonly token?: string;
  readonly postgres?: string;
  readonly namespace?: string;
}

export interface OpenedStore {
  /** Null for a project that has not made one yet. */
  readonly store: Store | null;
  /** Null when the store is a project's own. */
  readonly address: ClusterAddress | null;
  readonly project: Project | null;
  readonly close: () => Promise<void>;
}

/** Told what the store waits for. */
type Waiting = (text: string) => void;
const silent: Waiting = () => undefined;

const DEFAULT_CONFIG = 'config.yaml';

/** @throws DlgforgeError when neither a cluster nor a project's store is there. */
export async function openStoreOfRuns(
  flags: StoreFlags,
  environment: Environment,
  onWaiting: Waiting = silent,
): Promise<OpenedStore> {
  const named = flags.address ?? flags.postgres ?? flags.namespace;
  const project = named === undefined ? projectAt(flags.config) : null;
  if (project !== null) return await openStoreOfProject(project, onWaiting);
  const address = await findCluster(wantedFromFlags(flags, environment));
  if (address === null) throw noCluster();
  return await clusterStoreOf(address, null, environment, onWaiting);
}

/** The cluster's store when the project runs on one that is there; else the project's own. */
export async function openStoreOfProject(
  project: Project,
  onWaiting: Waiting = silent,
): Promise<OpenedStore> {
  if (project.config.run.distributed.enabled) {
    const address = await findCluster(wantedBy(project));
    if (address !== null)
      return await clusterStoreOf(address, project, project.loaded.environment, onWaiting);
    // The cluster that a run started for itself is gone with it; its data is the project's.
    if (!hasStore(project)) throw noCluster();
  }
  return await storeOf(project, onWaiting);
}

async function clusterStoreOf(
  address: ClusterAddress,
  project: Project | null,
  environment: Environment,
  onWaiting: Waiting,
): Promise<OpenedStore> {
  const store = await openClusterStore({
    address,
    limits: { poolMax: 4 },
    runtimeDir: environment['XDG_RUNTIME_DIR'],
    logger: silentLogger,
    onStatus: (text) => text === null || onWaiting(text),
  });
  return { store, address, project, close: () => store.close() };
}

async function storeOf(project: Project, onWaiting: Waiting): Promise<OpenedStore> {
  const store = hasStore(project)
    ? await openProjectStore(project, { onWaiting: (text) => text === null || onWaiting(text) })
    : null;
  return { store, address: null, project, close: async () => await store?.close() };
}

/** A file that was named must be there; the customary one may be missing. */
function projectAt(configPath: string | undefined): Project | null {
  if (configPath === undefined && !existsSync(DEFAULT_CONFIG)) return null;
  return projectWithoutLogs(loadConfig({ configPath: configPath ?? DEFAULT_CONFIG }));
}

/** Newest first; none before the first run of a project. */
export async function listRunsOf(
  flags: StoreFlags,
  environment: Environment,
): Promise<readonly RunSummary[]> {
  const { store, close } = await openStoreOfRuns(flags, environment);
  try {
    return store === null ? [] : await runsOf(store);
  } finally {
    await close();
  }
}

/** @throws DlgforgeError when there is no such run. */
export async function showRunOf(
  flags: StoreFlags,
  environment: Environment,
  id: string,
): Promise<RunDetails> {
  const { store, project, close } = await openStoreOfRuns(flags, environment);
  try {
    if (store === null) throw noSuchRun(id);
    return await detailsOf(store, id, project);
  } finally {
    await close();
  }
}
