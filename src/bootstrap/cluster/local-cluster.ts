/**
 * A cluster on this machine for one run: a head in the background that ends with the run. It uses the
 * project's own database, so the dataset's memory is the same as that of a run in one process.
 */
import { join } from 'node:path';
import type { Project } from '../project.ts';
import type { RunObserver } from '../run-options.ts';
import { readAddress } from './address-file.ts';
import { startDaemon } from './daemon.ts';
import type { ClusterAddress } from './find-cluster.ts';
import { DlgforgeError } from '../../kernel/errors.ts';

/** @throws DlgforgeError with the head's last words. */
export async function startLocalCluster(project: Project, observer: RunObserver): Promise<ClusterAddress> {
  const { config, folders, loaded, root } = project;
  const { namespace, replicas_qa: first, replicas_complete: second, spawn } = config.run.distributed;
  const home = join(folders.state, 'cluster');
  observer.status('starting a cluster on this machine');
  const dsn = config.store.postgres.dsn?.reveal();
  await startDaemon(
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
        String(spawn.workers ? Math.max(1, first + second) : 0),
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
  return {
    namespace,
    natsUrls: file.natsUrl.split(','),
    natsToken: file.token,
    tls: null,
    nkeySeedFile: null,
    postgres: file.postgres,
  };
}
