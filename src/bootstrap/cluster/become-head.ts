/** Whether this process may be the head of a namespace, for as long as it lives. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { HolderInfo } from '../../ports/store.ts';
import { readAddress } from './address-file.ts';
import { type HeadLock, takeHeadLock } from './head-lock.ts';

export interface BecomeHeadOptions {
  readonly home: string;
  readonly namespace: string;
  /** Shown to who finds the namespace taken. */
  readonly command: string;
  readonly signal?: AbortSignal | undefined;
  readonly onStatus: (text: string | null) => void;
}

/** How long a head that begins or ends may keep the next one waiting. */
const EARLIER_HEAD_MS = 15_000;
const POLL_MS = 50;

/**
 * A head that is there is waited for while it begins or ends.
 * @throws DlgforgeError `held` when it is there to stay; `cancelled`.
 */
export async function becomeHead(options: BecomeHeadOptions): Promise<HeadLock> {
  const { home, namespace, command, signal, onStatus } = options;
  const deadlineMs = Date.now() + EARLIER_HEAD_MS;
  for (;;) {
    signal?.throwIfAborted();
    const taken = await takeHeadLock(home, namespace, command);
    if (taken.type === 'acquired') return taken.lock;
    const { pid, host } = taken.by;
    const address = await readAddress(home, namespace);
    const isReady = address?.headPid === pid && address.headHost === host;
    if (isReady || Date.now() > deadlineMs) throw headHeld(namespace, taken.by);
    onStatus(`waiting for the head that begins or ends in process ${pid}`);
    await sleep(POLL_MS);
  }
}

const headHeld = (namespace: string, { pid, command, host }: HolderInfo): DlgforgeError =>
  new DlgforgeError(
    'held',
    `The cluster ${namespace} has a head already: process ${pid} (\`${command}\`) on ${host}. ` +
      'Join it with `dlgforge cluster start --address auto`, stop it with `dlgforge cluster stop --all`, or give this one another --namespace.',
  );
