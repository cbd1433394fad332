/** Who writes the files of an output folder: one process at a time. The run itself has another lease. */
import { hostname } from 'node:os';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { Store } from '../../ports/store.ts';
import { isProcessAlive, processIdentity } from '../../store/process-identity.ts';
import { holderText } from '../hold.ts';

const TTL_MS = 30_000;
const RENEW_MS = 10_000;

/** @throws DlgforgeError `held` naming who writes there. */
export async function holdFolder(
  store: Store,
  folder: string,
  command: string,
): Promise<{ release(): Promise<void> }> {
  const result = await store.acquireLease(
    `files/${hostname()}:${folder}`,
    processIdentity(command),
    TTL_MS,
    isProcessAlive,
  );
  if (result.type === 'held') {
    throw new DlgforgeError(
      'held',
      `${holderText(result.holder)} writes the files in ${folder} already. Follow the run without files (\`dlgforge attach\`), or give another --output-dir.`,
    );
  }
  const { lease } = result;
  const timer = setInterval(() => {
    // Two writers of one folder would both write the same bytes; the run has its own fence.
    store.renewLease(lease).catch((error: unknown) => void messageOf(error));
  }, RENEW_MS);
  return {
    async release() {
      clearInterval(timer);
      await store.releaseLease(lease).catch(() => undefined);
    },
  };
}
