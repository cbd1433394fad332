/**
 * Who has been here. Owns, of nodes that are gone, how new a heartbeat must be to mean that they are back;
 * and of nodes that came back after they had been taken for lost, that they have to be told.
 *
 * Bounded (I9): the oldest departure is forgotten; then an old heartbeat may bring the node back until it
 * is found silent again.
 */
import type { Departure as Departed, Member } from '../../ports/membership.ts';
import type { Heartbeat } from './cards.ts';

interface Departure {
  readonly startedAtMs: number;
  /** Of the last heartbeat. */
  readonly seq: number;
  /** Its process has ended: it cannot come back, only another one under its name. */
  readonly isFinal: boolean;
  readonly lastHeardMs: number;
}

const DEPARTURES_MAX = 1_000;
/** A return is told of in all heartbeats of this time: one of them may be lost. */
const TELL_RETURN_MS = 5_000;
/** In one heartbeat; the latest ones. */
const RETURNS_TOLD_MAX = 100;

export class Departures {
  readonly #departures = new Map<string, Departure>();
  /** When each was heard again. */
  readonly #returns = new Map<string, number>();

  note({ card: { node, startedAtMs }, lastHeardMs }: Member, seq: number, isFinal: boolean): void {
    this.#returns.delete(node);
    this.#departures.delete(node);
    this.#departures.set(node, { startedAtMs, seq, isFinal, lastHeardMs });
    const [oldest] = this.#departures.keys();
    if (this.#departures.size > DEPARTURES_MAX && oldest !== undefined) this.#departures.delete(oldest);
  }

  of(node: string): Departed | null {
    const departure = this.#departures.get(node);
    if (departure === undefined) return null;
    return { hasEnded: departure.isFinal, lastHeardMs: departure.lastHeardMs };
  }

  /** Said before its node departed, and only late to arrive. */
  isOld({ card, seq }: Heartbeat): boolean {
    const departure = this.#departures.get(card.node);
    if (departure === undefined) return false;
    return departure.isFinal ? card.startedAtMs <= departure.startedAtMs : seq <= departure.seq;
  }

  /** It is here again, if it ever was gone. */
  welcome(node: string, nowMs: number): void {
    const wasMistaken = this.#departures.get(node)?.isFinal === false;
    this.#departures.delete(node);
    if (wasMistaken) this.#returns.set(node, nowMs);
  }

  /** What heartbeats tell of. */
  returns(nowMs: number): Heartbeat['returned'] {
    for (const [node, atMs] of this.#returns)
      if (Math.abs(nowMs - atMs) > TELL_RETURN_MS) this.#returns.delete(node);
    return [...this.#returns].slice(-RETURNS_TOLD_MAX).map(([node, time]) => ({ node, time }));
  }
}
