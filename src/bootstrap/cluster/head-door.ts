/**
 * How others on this machine find the cluster of a head: its address file, there while they may come in. Owns
 * the file while it is open; what is asked of it is done in turn.
 */
import { type AddressFile, removeAddress, thisHead, writeAddress } from './address-file.ts';

export interface Door {
  open(): Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface HeadDoor extends Door {
  /** The address has changed; does nothing while it is closed. */
  renew(): Promise<void>;
}

export interface HeadDoorOptions {
  readonly home: string;
  readonly headNode: string;
  readonly address: Pick<AddressFile, 'namespace' | 'natsUrl' | 'token' | 'postgres'>;
  readonly natsServerId: () => string | null;
}

export function headDoor({ home, headNode, address, natsServerId }: HeadDoorOptions): HeadDoor {
  const startedAt = new Date().toISOString();
  let isOpen = false;
  let last: Promise<void> = Promise.resolve();
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const done = last.then(work);
    // The next one does not depend on it; whoever asked hears of it.
    last = done.catch(() => undefined);
    return done;
  };
  const write = (): Promise<void> =>
    writeAddress(home, { ...address, natsServerId: natsServerId(), ...thisHead(), headNode, startedAt });
  return {
    open: () =>
      inTurn(async () => {
        await write();
        isOpen = true;
      }),
    renew: () => inTurn(async () => (isOpen ? await write() : undefined)),
    close: () =>
      inTurn(async () => {
        isOpen = false;
        await removeAddress(home, address.namespace, process.pid);
      }),
  };
}
