/**
 * The permits that this node has out. Owns the requests under way: which permit each goes by, and the end
 * of those whose permit may have gone to somebody else.
 *
 * The others may take a node that is cut off for lost within a second or two. Its permits are given away five
 * seconds after it was heard last, and its requests under way are ended a little before that, so that the
 * limit holds (I7); at once when it hears that it was taken for lost. A router that is itself cut off gives
 * nothing away, and NATS may be down for all alike, but from here these look the same: the limit is worth more
 * than a few calls that are made again. The open requests of a process that was stopped cannot be ended, nor
 * seen by the others; it ends them when it goes on.
 */
import type { Clock } from '../../kernel/clock.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { HeldPermit } from './permits.ts';
import { BEAT_MS, type RouterLink } from './router-link.ts';

/**
 * Out of contact for this long, requests end. Contact counts as lost two seconds after the last heartbeat
 * came back, and the others wait five.
 */
const CUT_OFF_MS = 2_400;
/** This process stood still for so long that others have taken it for dead. */
const FROZEN_MS = 4_400;

interface Held {
  /** Counts up. */
  readonly serial: number;
  readonly permit: Omit<HeldPermit, 'leaseMs'>;
  readonly leaseEndsAtMs: number;
  /** Ends the request under way, and what listens for its caller. */
  request: { readonly controller: AbortController; readonly unlink: () => void } | null;
}

export class HeldPermits {
  readonly #link: RouterLink;
  readonly #clock: Clock;
  readonly #inContact: () => boolean;
  readonly #held = new Map<string, Held>();
  #serial = 0;
  #stopWatching: (() => void) | null = null;
  #beatAtMs = 0;
  #outOfContactMs = 0;

  constructor(link: RouterLink, clock: Clock, inContact: () => boolean) {
    this.#link = link;
    this.#clock = clock;
    this.#inContact = inContact;
  }

  add({ leaseMs, ...permit }: HeldPermit): void {
    this.#serial += 1;
    const leaseEndsAtMs = this.#clock.now() + leaseMs;
    this.#held.set(permit.ticket, { serial: this.#serial, permit, leaseEndsAtMs, request: null });
    this.#watch();
  }

  /** The signal for a request that is sent now; null when the permit must not be used. */
  use(ticket: string, signal: AbortSignal): AbortSignal | null {
    const held = this.#held.get(ticket);
    if (held === undefined || !this.#inContact() || this.#clock.now() >= held.leaseEndsAtMs) return null;
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    held.request = { controller, unlink: () => signal.removeEventListener('abort', abort) };
    return controller.signal;
  }

  /** False when it is not held. */
  remove(ticket: string): boolean {
    const held = this.#held.get(ticket);
    held?.request?.unlink();
    this.#held.delete(ticket);
    if (this.#held.size === 0) this.close();
    return held !== undefined;
  }

  /** The serial at which a part of `count` permits that begins after `from` ends; null when it is the last. */
  partEnd(from: number, count: number): number | null {
    const serials = [...this.#held.values()].map(({ serial }) => serial).filter((serial) => serial > from);
    return serials.length > count ? (serials[count - 1] ?? null) : null;
  }

  /** What the next router has to know, of the serials after `from` up to `to`. */
  list(from: number, to: number | null): readonly HeldPermit[] {
    const nowMs = this.#clock.now();
    return [...this.#held.values()]
      .filter(({ serial }) => serial > from && (to === null || serial <= to))
      .map(({ permit, leaseEndsAtMs }) => ({ ...permit, leaseMs: Math.max(0, leaseEndsAtMs - nowMs) }));
  }

  close(): void {
    this.#stopWatching?.();
    this.#stopWatching = null;
  }

  #watch(): void {
    if (this.#stopWatching !== null) return;
    this.#beatAtMs = this.#clock.now();
    this.#outOfContactMs = 0;
    this.#stopWatching = this.#link.onBeat(() => this.#look());
  }

  #look(): void {
    const nowMs = this.#clock.now();
    // The clock may be set back.
    const elapsedMs = Math.max(0, nowMs - this.#beatAtMs);
    this.#beatAtMs = nowMs;
    // A busy process is late too: only its own beats count, unless it was away for too long.
    this.#outOfContactMs = this.#inContact() ? 0 : this.#outOfContactMs + Math.min(elapsedMs, BEAT_MS);
    if (this.#outOfContactMs >= CUT_OFF_MS || elapsedMs >= FROZEN_MS) this.endRequests();
  }

  /** Those under way: others may use their permits now, or soon. */
  endRequests(): void {
    const reason = new DlgforgeError(
      'cancelled',
      'This node lost contact with the cluster, whose other nodes may use its permits now. The request is sent again when contact is back.',
      { retryable: true },
    );
    for (const { request } of this.#held.values()) request?.controller.abort(reason);
  }
}
