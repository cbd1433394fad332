import { setTimeout as sleep } from 'node:timers/promises';
import { joinAsClient } from '../../bootstrap/cluster/client.ts';
import { clusterStatus, nodeStatuses } from '../../bootstrap/cluster/status.ts';
import { type WantedFlags, wantedOf } from '../../bootstrap/cluster/wanted.ts';
import { processEnvironment } from '../../config/environment.ts';
import { nodeLines, statusLines } from '../cluster-lines.ts';
import { EXIT } from '../exit-codes.ts';
import { print } from '../terminal.ts';

export interface ClusterFlags extends WantedFlags {
  readonly json?: boolean;
}

const WATCH_MS = 1_000;
const CLEAR = '\u001B[2J\u001B[H';

export async function clusterStatusCommand(
  flags: ClusterFlags & { readonly watch?: boolean },
): Promise<number> {
  const client = await clientFor(flags, 'dlgforge cluster status');
  const over = new AbortController();
  process.once('SIGINT', () => over.abort());
  try {
    do {
      const status = await clusterStatus(client);
      if (flags.json === true) print(JSON.stringify(status, null, flags.watch === true ? undefined : 2));
      else
        print(
          `${flags.watch === true && process.stdout.isTTY ? CLEAR : ''}${statusLines(status).join('\n')}`,
        );
      if (flags.watch === true)
        await sleep(WATCH_MS, undefined, { signal: over.signal }).catch(() => undefined);
    } while (flags.watch === true && !over.signal.aborted);
    return EXIT.done;
  } finally {
    await client.close();
  }
}

export async function clusterNodes(flags: ClusterFlags): Promise<number> {
  const client = await clientFor(flags, 'dlgforge cluster nodes');
  try {
    const nodes = nodeStatuses(client);
    print(flags.json === true ? JSON.stringify(nodes, null, 2) : nodeLines(nodes).join('\n'));
    return EXIT.done;
  } finally {
    await client.close();
  }
}

export const clientFor = (flags: ClusterFlags, command: string) => {
  const environment = processEnvironment();
  return joinAsClient({ wanted: wantedOf(flags, environment), environment, command });
};
