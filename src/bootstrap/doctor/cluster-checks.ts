/** The cluster of a distributed run: whether one answers, or what starting one on this machine takes. */
import { silentLogger } from '../../kernel/logger.ts';
import { connectNats } from '../../transport/nats/connection.ts';
import { findNatsServer, natsInstallLine } from '../../transport/nats/local-server.ts';
import { wantedBy } from '../cluster/distributed-wanted.ts';
import { type ClusterAddress, findCluster, withoutLogin } from '../cluster/find-cluster.ts';
import type { Project } from '../project.ts';
import { type Check, guarded, ok, problem } from './check.ts';

export async function clusterChecks(project: Project): Promise<readonly Check[]> {
  if (!project.config.run.distributed.enabled) return [];
  return await guarded('cluster', async () => {
    const address = await findCluster(wantedBy(project));
    return [await (address === null ? withoutCluster(project) : answering(address))];
  });
}

async function answering(address: ClusterAddress): Promise<Check> {
  const link = await connectNats({
    urls: address.natsUrls,
    ...(address.natsToken === null ? {} : { token: address.natsToken }),
    ...(address.tls === null ? {} : { tls: address.tls }),
    ...(address.nkeySeedFile === null ? {} : { nkeySeedFile: address.nkeySeedFile }),
    name: 'dlgforge doctor',
    namespace: address.namespace,
    logger: silentLogger,
  });
  await link.close();
  return ok(
    'cluster',
    `${address.namespace}: NATS at ${address.natsUrls.map(withoutLogin).join(', ')} answers`,
  );
}

async function withoutCluster({ config, loaded }: Project): Promise<Check> {
  if (!config.run.distributed.auto_start_local) {
    return problem(
      'cluster',
      'None is running on this machine, and run.distributed.auto_start_local is false.',
      'Start one with `dlgforge cluster start --head`, or name one: run.distributed.address: nats://host:4222.',
    );
  }
  const { environment } = loaded;
  const program = await findNatsServer({
    given: environment['DLGFORGE_NATS_SERVER'],
    path: environment['PATH'],
  });
  if (program !== null)
    return ok('cluster', `none is running; a run starts one on this machine with ${program}`);
  return problem(
    'cluster',
    'None is running, and the program nats-server, which a run would start one with, is not installed.',
    await natsInstallLine(),
  );
}
