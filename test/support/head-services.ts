/** A head's servers in a process of their own, so that a test can kill it: prints what they are, then waits. */
import { startServices } from '../../src/bootstrap/cluster/services.ts';
import { writeAddress } from '../../src/bootstrap/cluster/address-file.ts';
import { silentLogger } from '../../src/kernel/logger.ts';

const [home = '', namespace = ''] = process.argv.slice(2);
const { address } = await startServices({
  namespace,
  home,
  detached: true,
  logger: silentLogger,
  onStatus: () => undefined,
});
await writeAddress(home, {
  ...address,
  headPid: process.pid,
  headNode: 'head',
  startedAt: new Date().toISOString(),
});
process.stdout.write(`${JSON.stringify(address)}\n`);
process.stdin.resume();
