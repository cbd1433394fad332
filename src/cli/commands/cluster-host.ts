import { text } from 'node:stream/consumers';
import { handleLaunch, readLaunchRequest } from '../../bootstrap/cluster/launch-node.ts';
import { REPLY_MARK } from '../../bootstrap/cluster/launch-ssh.ts';
import { processEnvironment } from '../../config/environment.ts';
import { EXIT } from '../exit-codes.ts';
import { print } from '../terminal.ts';

/** The far end of `cluster up` and `down` over ssh. */
export async function clusterHostCommand(): Promise<number> {
  const request = readLaunchRequest(await text(process.stdin));
  const reply = await handleLaunch(request, { environment: processEnvironment() });
  print(`${REPLY_MARK}${JSON.stringify(reply)}`);
  return EXIT.done;
}
