import { drainNode, type StopReport, stopCluster } from '../../bootstrap/cluster/control.ts';
import { wantedOf } from '../../bootstrap/cluster/wanted.ts';
import { processEnvironment } from '../../config/environment.ts';
import { EXIT } from '../exit-codes.ts';
import { print, say } from '../terminal.ts';
import { clientFor, type ClusterFlags } from './cluster-status.ts';

export async function clusterStop(
  flags: ClusterFlags & { readonly node?: string; readonly all?: boolean },
): Promise<number> {
  const { node } = flags;
  const environment = processEnvironment();
  const report = await stopCluster({
    wanted: wantedOf(flags, environment),
    which: node === undefined ? { type: flags.all === true ? 'all' : 'host' } : { type: 'node', name: node },
    environment,
    command: 'dlgforge cluster stop',
  });
  return tell(report, 'stopped', flags);
}

export async function clusterDrain(node: string, flags: ClusterFlags): Promise<number> {
  const client = await clientFor(flags, 'dlgforge cluster drain');
  try {
    say(`Draining ${node}: its conversations go on elsewhere.`);
    return tell(await drainNode(client, node), 'drained', flags);
  } finally {
    await client.close();
  }
}

function tell(report: StopReport, what: string, { json }: ClusterFlags): number {
  const { stopped, handedOver, stillThere, leftServersStopped } = report;
  if (json === true) print(JSON.stringify(report, null, 2));
  else {
    for (const node of stopped) say(`${node} ${what}.`);
    for (const node of handedOver) say(`${node} works no more; it follows its run to the end.`);
    for (const node of stillThere)
      say(`${node} is still there: see its logs, or end its process with kill -9; nothing is lost.`);
    if (leftServersStopped) say('Stopped the servers that a head had left when it was killed.');
    else if (stopped.length + handedOver.length + stillThere.length === 0)
      say('Nothing to stop: no node runs there.');
  }
  return stillThere.length === 0 ? EXIT.done : EXIT.failed;
}
