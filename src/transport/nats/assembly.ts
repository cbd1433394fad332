/**
 * Puts the parts of big envelopes together again. Owns the parts that have arrived.
 *
 * Invariants: 1. a sender has at most one envelope open, because its parts come one after the other; 2. what is
 * held is bounded in senders and bytes, and an envelope whose parts stop coming is given up.
 */
import { ENVELOPE_BYTES_MAX, type PartHeader, parsed } from './payload.ts';

const SENDERS_MAX = 64;
const HELD_BYTES_MAX = 4 * ENVELOPE_BYTES_MAX;
const EXPIRES_MS = 30_000;

interface Open {
  readonly id: string;
  readonly parts: Buffer[];
  bytes: number;
  readonly timer: NodeJS.Timeout;
}

export class Assembly {
  readonly #giveUp: (sender: string, why: string) => void;
  readonly #open = new Map<string, Open>();
  #heldBytes = 0;

  /** `giveUp` hears of every envelope that will not be whole. */
  constructor(giveUp: (sender: string, why: string) => void) {
    this.#giveUp = giveUp;
  }

  /** The envelope, wrapped, when this part makes it whole. */
  add(sender: string, header: PartHeader, bytes: Buffer): { readonly envelope: unknown } | null {
    const open = header.index === 0 ? this.#begin(sender, header.id) : this.#open.get(sender);
    if (open === undefined) return this.#drop(sender, 'a part came whose beginning is missing');
    if (open.id !== header.id || open.parts.length !== header.index)
      return this.#drop(sender, 'a part is missing before the one that came');
    if (this.#heldBytes + bytes.length > HELD_BYTES_MAX || open.bytes + bytes.length > ENVELOPE_BYTES_MAX)
      return this.#drop(sender, 'too many bytes of unfinished messages are held');
    // A copy: what arrives is a view of the network's buffer.
    open.parts.push(Buffer.from(bytes));
    open.bytes += bytes.length;
    this.#heldBytes += bytes.length;
    return open.parts.length === header.count ? this.#finish(sender, open) : null;
  }

  clear(): void {
    for (const sender of this.#open.keys()) this.#forget(sender);
  }

  #begin(sender: string, id: string): Open | undefined {
    if (this.#open.has(sender)) this.#drop(sender, 'another message began before it was whole');
    if (this.#open.size >= SENDERS_MAX) return undefined;
    const timer = setTimeout(() => this.#drop(sender, 'its last parts did not come'), EXPIRES_MS);
    timer.unref();
    const open: Open = { id, parts: [], bytes: 0, timer };
    this.#open.set(sender, open);
    return open;
  }

  #finish(sender: string, open: Open): { readonly envelope: unknown } | null {
    const envelope = parsed(Buffer.concat(open.parts));
    if (envelope === undefined) return this.#drop(sender, 'a message in parts is no JSON');
    this.#forget(sender);
    return { envelope };
  }

  #drop(sender: string, why: string): null {
    this.#forget(sender);
    this.#giveUp(sender, why);
    return null;
  }

  #forget(sender: string): void {
    const open = this.#open.get(sender);
    if (open === undefined) return;
    clearTimeout(open.timer);
    this.#heldBytes -= open.bytes;
    this.#open.delete(sender);
  }
}
