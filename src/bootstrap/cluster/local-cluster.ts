/**
 * A cluster on this machine for one run: a head in the background that ends with the run. It uses the
 * project's own database, so the dataset's memory is the same as that of a run in one process.
 *
 * The head always may lead, whatever `spawn.coordinator` says: that keeps the run's own process from leading, and
 * somebody has to.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DlgforgeError, isDlgforgeError } from '../../kernel/errors.ts';
import type { Project } from '../project.ts';
import type { RunObserver } from '../run-options.ts';
import { type AddressFile, isHeadAlive, readAddress } from './address-file.ts';
import { startDaemon } from './daemon.ts';
import { wantedBy, workersBrought } from './distributed-wanted.ts';
import { type ClusterAddress, findCluster } from './find-cluster.ts';
import { signalTo } from './signal-process.ts';

export interface LocalCluster {
  readonly address: ClusterAddress;
  /**
   * For a run that could not begin; otherwise the cluster ends by itself, with the run. A head that another run
   * uses by now, or that another run has started, goes on.
   */
  stop(): Promise<void>;
}

/** Another run of the project starts its head, or one that has ended takes its leave: each takes some seconds. */
const HELD_MS = 90_000;
/** The head looks for others before it ends. */
const STOP_MS = 10_000;
const POLL_MS = 50;

/**
 * Two runs of a project that begin at once share one cluster.
 * @throws DlgforgeError with the head's last words; the reason of `stop`.
 */
export async function startLocalCluster(
  project: Project,
  observer: RunObserver,
  stop?: AbortSignal,
): Promise<LocalCluster> {
  const home = join(project.folders.state, 'cluster');
  const { namespace } = project.config.run.distributed;
  const find = (): Promise<ClusterAddress | null> =>
    findCluster({ ...wantedBy(project), address: 'auto', homes: [home] });
  observer.status('starting a cluster on this machine');
  const deadlineMs = Date.now() + HELD_MS;
  for (;;) {
    const isOurs = await startHead(project, home, observer, stop, deadlineMs);
    const file = await readAddress(home, namespace);
    const address = file === null ? null : await find();
    if (file !== null && address !== null) {
      return { address, stop: isOurs ? () => endHead(file) : () => Promise.resolve() };
    }
    if (isOurs)
      throw new DlgforgeError(
        'transport',
        'The cluster that was started for this run has ended already; see its logs.',
      );
    await sleep(POLL_MS);
  }
}

/** False when another process has it in hand. */
async function startHead(
  project: Project,
  home: string,
  observer: RunObserver,
  signal: AbortSignal | undefined,
  deadlineMs: number,
): Promise<boolean> {
  const { config, folders, loaded, root } = project;
  const { min_pool_size: poolMin, max_pool_size: poolMax, statement_timeout_ms } = config.store.postgres;
  const limits = { poolMin, poolMax, statementTimeoutMs: statement_timeout_ms };
  const dsn = config.store.postgres.dsn?.reveal();
  const flags = {
    namespace: config.run.distributed.namespace,
    home,
    'database-dir': folders.state,
    'keys-from': loaded.configPath,
    workers: workersBrought(project),
    'store-limits': JSON.stringify(limits),
  };
  try {
    await startDaemon(
      {
        args: [
          '--head',
          '--until-idle',
          ...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]),
        ],
        environment: { ...loaded.environment, ...(dsn === undefined ? {} : { DLGFORGE_POSTGRES_DSN: dsn }) },
        folder: root,
        logsDir: folders.logs,
        signal,
      },
      (text) => observer.status(text),
    );
    return true;
  } catch (error) {
    if (!isDlgforgeError(error, 'held') || Date.now() > deadlineMs) throw error;
    return false;
  }
}

async function endHead(head: AddressFile): Promise<void> {
  const deadlineMs = Date.now() + STOP_MS;
  if (isHeadAlive(head)) signalTo(head.headPid, 'SIGUSR2');
  while (isHeadAlive(head) && Date.now() < deadlineMs) await sleep(POLL_MS);
}
