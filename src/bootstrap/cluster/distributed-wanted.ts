/** The cluster that a configuration means, and what its process brings. */
import { join } from 'node:path';
import { readSecret } from '../../config/credentials.ts';
import { tlsFiles } from '../../config/nats-tls.ts';
import type { Project } from '../project.ts';
import { clusterHome } from './address-file.ts';
import type { Wanted } from './find-cluster.ts';

export function wantedBy({ config, loaded, folders, root }: Project): Wanted {
  const { distributed } = config.run;
  const { environment } = loaded;
  return {
    namespace: distributed.namespace,
    address:
      distributed.address === 'auto' ? (distributed.nats_url?.reveal() ?? 'auto') : distributed.address,
    natsToken:
      distributed.nats_token?.reveal() ?? readSecret(environment, 'DLGFORGE_NATS_TOKEN')?.reveal() ?? null,
    dsn: config.store.postgres.dsn?.reveal() ?? null,
    tls: tlsFiles(config, root),
    environment,
    homes: [clusterHome(environment), join(folders.state, 'cluster')],
  };
}

/** Worker processes that a run's own process brings, or the cluster that is started for it; may be none. */
export function workersBrought({ config }: Project): number {
  const { spawn, replicas_qa: first, replicas_complete: second } = config.run.distributed;
  return spawn.workers ? first + second : 0;
}
