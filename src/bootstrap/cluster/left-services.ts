/** What a head that was killed has left on this machine. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isHeadAlive, namespaceFolder, readAddress, removeAddress } from './address-file.ts';
import { takeHeadLock } from './head-lock.ts';
import { stopLeftNats } from './local-nats.ts';
import { stopLeftPostgres } from './local-postgres.ts';

/**
 * Stops the servers of a head that was killed before it could, and forgets its address; those of a living one
 * are left alone. True when there was something to do.
 */
export async function stopLeftServices(
  home: string,
  namespace: string,
  runtimeDir?: string,
): Promise<boolean> {
  const folder = namespaceFolder(home, namespace);
  const left = await readAddress(home, namespace);
  if (left === null ? !existsSync(folder) : isHeadAlive(left)) return false;
  // Nobody begins a head meanwhile.
  const taken = await takeHeadLock(home, namespace, 'dlgforge cluster stop');
  if (taken.type === 'held') return false;
  try {
    const database = left?.postgres.type === 'embedded' ? left.postgres.stateDir : folder;
    const stopped = [await stopLeftNats(join(folder, 'nats')), await stopLeftPostgres(database, runtimeDir)];
    const forgotten = left !== null && (await removeAddress(home, namespace, left.headPid));
    return forgotten || stopped.includes(true);
  } finally {
    await taken.lock.release();
  }
}
