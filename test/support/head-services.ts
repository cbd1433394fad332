/** A head's servers in a process of their own, so that a test can kill it: prints what they are, then waits. */
import { startServices } from '../../src/bootstrap/cluster/services.ts';
import { thisHead, writeAddress } from '../../src/bootstrap/cluster/address-file.ts';
import { silentLogger } from '../../src/kernel/logger.ts';

const [home = '', namespace = ''] = process.argv.slice(2);
const { address, natsServerId } = await startServices({
  namespace,
  home,
  detached: true,
  command: 'a head of a test',
  logger: silentLogger,
  onStatus: () => undefined,
});
await writeAddress(home, {
  ...address,
  natsServerId: natsServerId(),
  ...thisHead(),
  headNode: 'head',
  startedAt: new Date().toISOString(),
});
process.stdout.write(`${JSON.stringify(address)}\n`);
process.stdin.resume();
