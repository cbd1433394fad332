import { actorTree } from '../../bootstrap/cluster/status.ts';
import { treeLines } from '../cluster-lines.ts';
import { EXIT } from '../exit-codes.ts';
import { print } from '../terminal.ts';
import { clientFor, type ClusterFlags } from './cluster-status.ts';

export async function actorsTree(flags: ClusterFlags & { readonly run?: string }): Promise<number> {
  const client = await clientFor(flags, 'dlgforge actors tree');
  try {
    const nodes = await actorTree(client, flags.run ?? null);
    print(flags.json === true ? JSON.stringify(nodes, null, 2) : treeLines(nodes).join('\n'));
    return EXIT.done;
  } finally {
    await client.close();
  }
}
