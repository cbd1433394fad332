/**
 * A cluster on this machine for one run: a head in the background that ends with the run. It uses the
 * project's own database, so the dataset's memory is the same as that of a run in one process.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Project } from '../project.ts';
import type { RunObserver } from '../run-options.ts';
import { readAddress } from './address-file.ts';
import { startDaemon } from './daemon.ts';
import { workersBrought } from './distributed-wanted.ts';
import type { ClusterAddress } from './find-cluster.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { isPidAlive } from '../../store/process-identity.ts';

export interface LocalCluster {
  readonly address: ClusterAddress;
  /** For a run that could not begin; otherwise the cluster ends by itself, with the run. */
  stop(): Promise<void>;
}

const STOP_MS = 15_000;
const POLL_MS = 50;

/** @throws DlgforgeError with the head's last words. */
export async function startLocalCluster(project: Project, observer: RunObserver): Promise<LocalCluster> {
  const { config, folders, loaded, root } = project;
  const { namespace } = config.run.distributed;
  const home = join(folders.state, 'cluster');
  observer.status('starting a cluster on this machine');
  const dsn = config.store.postgres.dsn?.reveal();
  const { pid } = await startDaemon(
    {
      args: [
        '--head',
        '--until-idle',
        '--namespace',
        namespace,
        '--home',
        home,
        '--database-dir',
        folders.state,
        '--keys-from',
        loaded.configPath,
        '--workers',
        String(workersBrought(project)),
      ],
      environment: { ...loaded.environment, ...(dsn === undefined ? {} : { DLGFORGE_POSTGRES_DSN: dsn }) },
      folder: root,
      logsDir: folders.logs,
    },
    (text) => observer.status(text),
  );
  const file = await readAddress(home, namespace);
  if (file === null)
    throw new DlgforgeError(
      'transport',
      'The cluster that was started for this run has ended already; see its logs.',
    );
  const address = {
    namespace,
    natsUrls: file.natsUrl.split(','),
    natsToken: file.token,
    tls: null,
    nkeySeedFile: null,
    postgres: file.postgres,
  };
  return { address, stop: () => stopHead(pid) };
}

/** It drains and stops its servers when it is asked to end; no longer than it may. */
async function stopHead(pid: number): Promise<void> {
  const deadlineMs = Date.now() + STOP_MS;
  if (isPidAlive(pid)) process.kill(pid, 'SIGTERM');
  while (isPidAlive(pid) && Date.now() < deadlineMs) await sleep(POLL_MS);
}
