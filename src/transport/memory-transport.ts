/**
 * Nodes in one process, joined by queues that behave like a network: everything is encoded, batched
 * per event-loop turn, delivered later, and can be delayed, cut and lost. Owns the links (a queue per
 * sender and destination) and the faults that tests put on them.
 *
 * Invariants: 1. a link delivers in the order of sending; between links the order is drawn from the
 * seed; 2. what crosses is text, so no object is shared; 3. a link's queue is bounded, and what does
 * not fit is dropped and counted; 4. nothing is scheduled while nothing is under way.
 */
import { type Clock, systemClock } from '../kernel/clock.ts';
import { DlgforgeError, InvariantError, messageOf } from '../kernel/errors.ts';
import { below, shuffled } from '../kernel/random.ts';
import type { Envelope, Transport, TransportEndpoint } from '../ports/transport.ts';

export interface MemoryTransportOptions {
  /** For delays and the detection of lost nodes. @default the system's */
  readonly clock?: Clock;
  /** Of the order between links, and of delays. */
  readonly seed?: number | string;
  /** A batch travels this long, drawn evenly. @default 0, in the next event-loop turn */
  readonly delayMs?: { readonly min: number; readonly max: number };
  /** From a cut until a node counts as lost. @default 0 */
  readonly detectLossMs?: number;
  /** Envelopes that may wait on one link. @default 100 000 */
  readonly linkCapacity?: number;
}

export interface MemoryTransportStats {
  readonly sent: number;
  readonly delivered: number;
  /** Lost to a cut, a dead node or a full link. */
  readonly dropped: number;
  readonly batches: number;
}

export interface MemoryTransport extends Transport {
  /** Nothing passes between the two, what is under way included; each hears that the other is lost. */
  partition(a: string, b: string): void;
  heal(a: string, b: string): void;
  /** The node is gone without a word: it hears nothing and is heard by nobody, until its name attaches again. */
  kill(node: string): void;
  stats(): MemoryTransportStats;
}

interface Link {
  readonly from: string;
  readonly to: string;
  /** Encoded envelopes that wait for the end of this turn. */
  waiting: string[];
  /** Envelopes that have not arrived, those that wait included. */
  underWay: number;
  /** Batches under way, oldest first. Each has a timer, and whichever fires takes the oldest (invariant 1). */
  readonly batches: (readonly string[])[];
  lastArrivalMs: number;
}

const LINK_CAPACITY = 100_000;

export function createMemoryTransport(options: MemoryTransportOptions = {}): MemoryTransport {
  return new MemoryNetwork(options);
}

class MemoryNetwork implements MemoryTransport {
  readonly #options: MemoryTransportOptions;
  readonly #clock: Clock;
  readonly #endpoints = new Map<string, MemoryEndpoint>();
  readonly #links = new Map<string, Link>();
  readonly #cuts = new Set<string>();
  /** Links with something waiting; a flush is scheduled while there are any. */
  readonly #ready = new Set<Link>();
  readonly #timers = new Set<() => void>();
  #sent = 0;
  #delivered = 0;
  #dropped = 0;
  #batches = 0;
  #flushes = 0;

  constructor(options: MemoryTransportOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
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

  partition(a: string, b: string): void {
    this.#cuts.add(pair(a, b));
    this.#drop((link) => pair(link.from, link.to) === pair(a, b));
    this.#after(this.#options.detectLossMs ?? 0, () => {
      if (!this.#cuts.has(pair(a, b))) return;
      this.#endpoints.get(a)?.lost(b);
      this.#endpoints.get(b)?.lost(a);
    });
  }

  heal(a: string, b: string): void {
    this.#cuts.delete(pair(a, b));
  }

  kill(node: string): void {
    this.#remove(node, 'lost');
    this.#after(this.#options.detectLossMs ?? 0, () => this.#announceLoss(node));
  }

  stats(): MemoryTransportStats {
    return { sent: this.#sent, delivered: this.#delivered, dropped: this.#dropped, batches: this.#batches };
  }

  // Called by endpoints.

  send(from: MemoryEndpoint, to: string, encoded: string): void {
    this.#sent += 1;
    if (!this.#reaches(from.node, to)) {
      this.#dropped += 1;
      this.#reportUnreachable(from, to);
      return;
    }
    const link = this.#link(from.node, to);
    if (link.underWay >= (this.#options.linkCapacity ?? LINK_CAPACITY)) {
      this.#dropped += 1;
      return;
    }
    if (this.#ready.size === 0) setImmediate(() => this.#flush());
    this.#ready.add(link);
    link.waiting.push(encoded);
    link.underWay += 1;
  }

  leave(endpoint: MemoryEndpoint): void {
    this.#flush();
    const { node } = endpoint;
    const lastArrivalMs = Math.max(
      0,
      ...[...this.#links.values()].filter(({ from }) => from === node).map((link) => link.lastArrivalMs),
    );
    this.#remove(node, 'left');
    this.#after(Math.max(0, lastArrivalMs - this.#clock.now()), () => this.#announceLoss(node));
  }

  // The network.

  #flush(): void {
    const ready = shuffled([this.#options.seed ?? 0, 'order', this.#flushes], [...this.#ready]);
    this.#flushes += 1;
    this.#ready.clear();
    for (const link of ready) this.#dispatch(link, link.waiting.splice(0));
  }

  #dispatch(link: Link, encoded: readonly string[]): void {
    this.#batches += 1;
    link.batches.push(encoded);
    const delayMs = this.#drawDelay(link);
    if (delayMs === 0 && link.batches.length === 1) return this.#arrive(link);
    link.lastArrivalMs = Math.max(link.lastArrivalMs, this.#clock.now() + delayMs);
    this.#after(link.lastArrivalMs - this.#clock.now(), () => this.#arrive(link));
  }

  #arrive(link: Link): void {
    // A link that was dropped has been counted as lost with everything on it.
    if (this.#links.get(linkKey(link.from, link.to)) !== link) return;
    const encoded = link.batches.shift() ?? [];
    link.underWay -= encoded.length;
    this.#delivered += encoded.length;
    const receiver = this.#endpoints.get(link.to);
    for (const envelope of JSON.parse(`[${encoded.join(',')}]`) as readonly unknown[])
      receiver?.receive(envelope);
  }

  #reaches(from: string, to: string): boolean {
    return this.#endpoints.has(to) && !this.#cuts.has(pair(from, to));
  }

  /** A sender that writes to a node that is gone hears so again, once per detection. */
  #reportUnreachable(from: MemoryEndpoint, to: string): void {
    if (from.reporting.has(to)) return;
    from.reporting.add(to);
    this.#after(this.#options.detectLossMs ?? 0, () => {
      from.reporting.delete(to);
      if (!this.#reaches(from.node, to)) from.lost(to);
    });
  }

  #announceLoss(node: string): void {
    for (const endpoint of this.#endpoints.values()) if (endpoint.node !== node) endpoint.lost(node);
  }

  /** What a node that left has sent still arrives; what a lost one has sent does not. */
  #remove(node: string, how: 'left' | 'lost'): void {
    this.#endpoints.get(node)?.close();
    this.#endpoints.delete(node);
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
    const link = this.#links.get(key) ?? {
      from,
      to,
      waiting: [],
      underWay: 0,
      batches: [],
      lastArrivalMs: 0,
    };
    this.#links.set(key, link);
    return link;
  }

  #drawDelay(link: Link): number {
    const { delayMs, seed } = this.#options;
    if (delayMs === undefined) return 0;
    const key = [seed ?? 0, 'delay', link.from, link.to, this.#batches];
    return delayMs.min + below(key, delayMs.max - delayMs.min + 1);
  }

  /** Not, or no longer, when the last node has left (invariant 4). */
  #after(delayMs: number, run: () => void): void {
    if (this.#endpoints.size === 0) return;
    const cancelTimer = this.#clock.schedule(delayMs, () => {
      this.#timers.delete(cancel);
      run();
    });
    const cancel = (): void => {
      this.#timers.delete(cancel);
      cancelTimer();
    };
    this.#timers.add(cancel);
  }
}

class MemoryEndpoint implements TransportEndpoint {
  readonly node: string;
  /** Nodes whose loss is about to be reported. */
  readonly reporting = new Set<string>();
  readonly #network: MemoryNetwork;
  readonly #receive: (envelope: unknown) => void;
  readonly #listeners: ((node: string) => void)[] = [];
  #open = true;

  constructor(network: MemoryNetwork, node: string, receive: (envelope: unknown) => void) {
    this.#network = network;
    this.node = node;
    this.#receive = receive;
  }

  send(toNode: string, envelope: Envelope): void {
    const encoded = encode(envelope);
    if (this.#open) this.#network.send(this, toNode, encoded);
  }

  onNodeLost(listener: (node: string) => void): void {
    this.#listeners.push(listener);
  }

  detach(): Promise<void> {
    if (this.#open) this.#network.leave(this);
    return Promise.resolve();
  }

  receive(envelope: unknown): void {
    if (this.#open) this.#receive(envelope);
  }

  lost(node: string): void {
    if (this.#open) for (const listener of this.#listeners) listener(node);
  }

  close(): void {
    this.#open = false;
  }
}

function encode(envelope: Envelope): string {
  try {
    return JSON.stringify(envelope);
  } catch (error) {
    throw new InvariantError(`invariant broken: a message cannot be encoded: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

const linkKey = (from: string, to: string): string => JSON.stringify([from, to]);

const pair = (a: string, b: string): string => (a < b ? linkKey(a, b) : linkKey(b, a));
