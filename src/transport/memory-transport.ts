/**
 * Nodes in one process, joined by queues that behave like a network with a server in its middle:
 * everything is encoded, batched per event-loop turn, delivered later, and can be delayed, cut, held up
 * and lost. Owns who is attached and the links (a queue per sender and destination).
 *
 * Invariants: 1. a link delivers in the order of sending, whatever the delays (bad weather apart);
 * between links the order is drawn from the seed; 2. what crosses is text, so no object is shared; 3. a
 * link's queue is bounded, and what does not fit is dropped and counted; 4. nothing is scheduled while
 * nothing is under way, and nothing once the last node has left.
 */
import { type Clock, systemClock } from '../kernel/clock.ts';
import { DlgforgeError } from '../kernel/errors.ts';
import { below, shuffled } from '../kernel/random.ts';
import type { Transport, TransportEndpoint } from '../ports/transport.ts';
import { MemoryEndpoint, type Network, type Verdict } from './memory/endpoint.ts';
import { Faults, linkKey, type Weather } from './memory/faults.ts';
import { Link, type Parcel } from './memory/link.ts';

export type { Weather } from './memory/faults.ts';

export interface MemoryTransportOptions {
  /** For delays and the detection of lost nodes. @default the system's */
  readonly clock?: Clock;
  /** Of the order between links, of delays, and of the weather. */
  readonly seed?: number | string;
  /** A batch travels this long, drawn evenly. @default 0, in the next event-loop turn */
  readonly delayMs?: { readonly min: number; readonly max: number };
  /** From a cut until a node counts as lost; null: only `declareLost` tells. @default 0 */
  readonly detectLossMs?: number | null;
  /** Envelopes that may wait on one link. @default 100 000 */
  readonly linkCapacity?: number;
  /** @default fair */
  readonly weather?: Weather;
}

export interface MemoryTransportStats {
  readonly sent: number;
  readonly delivered: number;
  /** Lost to a cut, a dead node, a full link or the weather. */
  readonly dropped: number;
  readonly batches: number;
}

export interface MemoryTransport extends Transport {
  /** Nothing passes between the two, what is under way included; each hears that the other is lost. */
  partition(a: string, b: string): void;
  heal(a: string, b: string): void;
  /** Nothing passes from the one to the other, what is under way included. Nobody is told. */
  cut(from: string, to: string): void;
  mend(from: string, to: string): void;
  /** The node's way to all others, itself too, is gone: it is silent and not connected. Nobody else is told. */
  cutOff(node: string): void;
  restore(node: string): void;
  /** Nothing is delivered to the node and nothing leaves it; up to a link's capacity waits for the thaw. */
  freeze(node: string): void;
  thaw(node: string): void;
  /** From now on. */
  setWeather(weather: Weather): void;
  /** The node is gone without a word: it hears nothing and is heard by nobody, until its name attaches again. */
  kill(node: string): void;
  stats(): MemoryTransportStats;
}

const LINK_CAPACITY = 100_000;

export function createMemoryTransport(options: MemoryTransportOptions = {}): MemoryTransport {
  return new MemoryNetwork(options);
}

class MemoryNetwork implements MemoryTransport, Network {
  readonly #options: MemoryTransportOptions;
  readonly #clock: Clock;
  readonly #seed: number | string;
  readonly #faults: Faults;
  readonly #endpoints = new Map<string, MemoryEndpoint>();
  readonly #links = new Map<string, Link>();
  /** Links with something waiting; a flush is scheduled while there are any. */
  readonly #ready = new Set<Link>();
  readonly #timers = new Set<() => void>();
  #sent = 0;
  #delivered = 0;
  #dropped = 0;
  #batches = 0;
  #flushes = 0;
  #probes = 0;

  constructor(options: MemoryTransportOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#seed = options.seed ?? 0;
    this.#faults = new Faults(this.#seed, options.weather ?? {});
  }

  attach(node: string, receive: (envelope: unknown) => void): Promise<TransportEndpoint> {
    if (this.#endpoints.has(node)) {
      const text = `a node named ${node} is attached already; give each node a name of its own`;
      return Promise.reject(new DlgforgeError('held', text));
    }
    const endpoint = new MemoryEndpoint(this, node, receive);
    this.#endpoints.set(node, endpoint);
    return Promise.resolve(endpoint);
  }

  // Faults.

  partition(a: string, b: string): void {
    this.cut(a, b);
    this.cut(b, a);
    this.#detectLoss(() => {
      if (this.#faults.passes(a, b) || this.#faults.passes(b, a)) return;
      this.#endpoints.get(a)?.lost(b);
      this.#endpoints.get(b)?.lost(a);
    });
  }

  heal(a: string, b: string): void {
    this.mend(a, b);
    this.mend(b, a);
  }

  cut(from: string, to: string): void {
    this.#faults.cut(from, to);
    this.#drop((link) => link.from === from && link.to === to);
  }

  mend(from: string, to: string): void {
    this.#faults.mend(from, to);
  }

  cutOff(node: string): void {
    this.#faults.cutOff(node);
    this.#drop((link) => link.from === node || link.to === node);
  }

  restore(node: string): void {
    this.#faults.restore(node);
  }

  freeze(node: string): void {
    this.#faults.freeze(node);
  }

  thaw(node: string): void {
    this.#faults.thaw(node);
    for (const link of this.#links.values()) {
      if (link.from === node && link.hasWaiting) this.#makeReady(link);
      if (link.to !== node) continue;
      while (link.overdue > 0 && !this.#faults.isFrozen(node)) {
        link.overdue -= 1;
        this.#arrive(link);
      }
    }
  }

  setWeather(weather: Weather): void {
    this.#faults.weather = weather;
  }

  kill(node: string): void {
    this.#remove(node, 'lost');
    this.#detectLoss(() => this.#announceLoss(node));
  }

  stats(): MemoryTransportStats {
    return { sent: this.#sent, delivered: this.#delivered, dropped: this.#dropped, batches: this.#batches };
  }

  // Called by endpoints.

  send(from: MemoryEndpoint, to: string, parcel: Parcel): void {
    if (!this.#put(from.node, to, parcel)) this.#reportUnreachable(from, to);
  }

  broadcast(from: MemoryEndpoint, parcel: Parcel): void {
    for (const to of this.#endpoints.keys()) this.#put(from.node, to, parcel);
  }

  probe(from: MemoryEndpoint, to: string, timeoutMs: number, answer: (verdict: Verdict) => void): void {
    this.#probes += 1;
    const travelMs = this.#drawDelay(['probe', from.node, to, this.#probes]);
    const cancel = this.#after(timeoutMs, () => answer('unknown'));
    this.#after(travelMs, () => {
      const verdict = this.#verdict(from.node, to);
      if (verdict === 'unknown') return;
      cancel();
      answer(verdict);
    });
  }

  connects(node: string): boolean {
    return !this.#faults.isCutOff(node);
  }

  leave(endpoint: MemoryEndpoint): void {
    this.#flush();
    const { node } = endpoint;
    const lastArrivalMs = Math.max(
      0,
      ...[...this.#links.values()].filter(({ from }) => from === node).map((link) => link.lastArrivalMs),
    );
    this.#remove(node, 'left');
    if (this.#options.detectLossMs === null) return;
    this.#after(Math.max(0, lastArrivalMs - this.#clock.now()), () => this.#announceLoss(node));
  }

  // The network.

  /** False when nothing gets there. */
  #put(from: string, to: string, parcel: Parcel): boolean {
    this.#sent += 1;
    if (!this.#reaches(from, to)) {
      this.#dropped += 1;
      return false;
    }
    const link = this.#link(from, to);
    if (link.underWay >= (this.#options.linkCapacity ?? LINK_CAPACITY)) {
      this.#dropped += 1;
      return true;
    }
    link.add(parcel);
    this.#makeReady(link);
    return true;
  }

  #makeReady(link: Link): void {
    if (this.#ready.size === 0) setImmediate(() => this.#flush());
    this.#ready.add(link);
  }

  #flush(): void {
    const ready = shuffled([this.#seed, 'order', this.#flushes], [...this.#ready]);
    this.#flushes += 1;
    this.#ready.clear();
    // What a node that stands still has to say waits for its thaw.
    for (const link of ready) if (!this.#faults.isFrozen(link.from)) this.#dispatch(link);
  }

  #dispatch(link: Link): void {
    link.depart();
    if (this.#faults.strikes('drop')) {
      this.#dropped += link.lose();
      return;
    }
    this.#travel(link);
    if (!this.#faults.strikes('duplicate')) return;
    link.duplicate();
    this.#travel(link);
  }

  #travel(link: Link): void {
    this.#batches += 1;
    const delayMs = this.#drawDelay(['delay', link.from, link.to, this.#batches]);
    if (delayMs === 0 && link.batchCount === 1) return this.#due(link);
    link.lastArrivalMs = Math.max(link.lastArrivalMs, this.#clock.now() + delayMs);
    this.#after(link.lastArrivalMs - this.#clock.now(), () => this.#due(link));
  }

  #due(link: Link): void {
    if (this.#faults.isFrozen(link.to)) link.overdue += 1;
    else this.#arrive(link);
  }

  #arrive(link: Link): void {
    // A link that was dropped has been counted as lost with everything on it.
    if (this.#links.get(linkKey(link.from, link.to)) !== link) return;
    const arrivals = link.take(this.#faults.strikes('reorder'));
    this.#delivered += arrivals.length;
    const receiver = this.#endpoints.get(link.to);
    for (const { body, isBroadcast } of arrivals) receiver?.receive(link.from, body, isBroadcast);
  }

  #reaches(from: string, to: string): boolean {
    return this.#endpoints.has(to) && this.#faults.passes(from, to);
  }

  /** As a server in the middle sees it: whose connection is gone is gone, who does not answer is unknown. */
  #verdict(from: string, to: string): Verdict {
    if (this.#faults.isCutOff(from) || this.#faults.isFrozen(from)) return 'unknown';
    if (!this.#endpoints.has(to)) return 'gone';
    const answers = this.#faults.passes(from, to) && this.#faults.passes(to, from);
    return answers && !this.#faults.isFrozen(to) ? 'there' : 'unknown';
  }

  /** A sender that writes to a node that is gone hears so again, once per detection. */
  #reportUnreachable(from: MemoryEndpoint, to: string): void {
    if (this.#options.detectLossMs === null || from.reporting.has(to)) return;
    from.reporting.add(to);
    this.#detectLoss(() => {
      from.reporting.delete(to);
      if (!this.#reaches(from.node, to)) from.lost(to);
    });
  }

  #announceLoss(node: string): void {
    for (const endpoint of this.#endpoints.values()) if (endpoint.node !== node) endpoint.lost(node);
  }

  #detectLoss(report: () => void): void {
    const { detectLossMs = 0 } = this.#options;
    if (detectLossMs !== null) this.#after(detectLossMs, report);
  }

  /** What a node that left has sent still arrives; what a lost one has sent does not. */
  #remove(node: string, how: 'left' | 'lost'): void {
    this.#endpoints.get(node)?.close();
    this.#endpoints.delete(node);
    this.#faults.thaw(node);
    this.#drop((link) => link.to === node || (how === 'lost' && link.from === node));
    if (this.#endpoints.size === 0) for (const cancel of this.#timers) cancel();
  }

  #drop(which: (link: Link) => boolean): void {
    for (const [key, link] of this.#links) {
      if (!which(link)) continue;
      this.#dropped += link.underWay;
      this.#links.delete(key);
      this.#ready.delete(link);
    }
  }

  #link(from: string, to: string): Link {
    const key = linkKey(from, to);
    const link = this.#links.get(key) ?? new Link(from, to);
    this.#links.set(key, link);
    return link;
  }

  #drawDelay(what: readonly (string | number)[]): number {
    const { delayMs } = this.#options;
    if (delayMs === undefined) return 0;
    return delayMs.min + below([this.#seed, ...what], delayMs.max - delayMs.min + 1);
  }

  /** Not, or no longer, when the last node has left (invariant 4). */
  #after(delayMs: number, run: () => void): () => void {
    if (this.#endpoints.size === 0) return () => undefined;
    const cancelTimer = this.#clock.schedule(delayMs, () => {
      this.#timers.delete(cancel);
      run();
    });
    const cancel = (): void => {
      this.#timers.delete(cancel);
      cancelTimer();
    };
    this.#timers.add(cancel);
    return cancel;
  }
}
