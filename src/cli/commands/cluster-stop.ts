import { drainNode, type StopReport, stopNodes } from '../../bootstrap/cluster/control.ts';
import { EXIT } from '../exit-codes.ts';
import { print, say } from '../terminal.ts';
import { clientFor, type ClusterFlags } from './cluster-status.ts';

export async function clusterStop(
  flags: ClusterFlags & { readonly node?: string; readonly all?: boolean },
): Promise<number> {
  const client = await clientFor(flags, 'dlgforge cluster stop');
  try {
    const { node } = flags;
    const report = await stopNodes(
      client,
      node === undefined ? { type: flags.all === true ? 'all' : 'host' } : { type: 'node', name: node },
    );
    return tell(report, 'stopped', flags);
  } finally {
    await client.close();
  }
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
  if (json === true) print(JSON.stringify(report, null, 2));
  else if (report.stopped.length + report.stillThere.length === 0)
    say('Nothing to stop: no node runs there.');
  else {
    for (const node of report.stopped) say(`${node} ${what}.`);
    for (const node of report.stillThere)
      say(`${node} is still there: see its logs, or end its process with kill -9; nothing is lost.`);
  }
  return report.stillThere.length === 0 ? EXIT.done : EXIT.failed;
}
