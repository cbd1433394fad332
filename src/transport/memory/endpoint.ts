import { InvariantError, messageOf } from '../../kernel/errors.ts';
import type { Envelope, TransportEndpoint } from '../../ports/transport.ts';
import type { Parcel } from './link.ts';

/** What an endpoint needs of the network that it is attached to. */
export interface Network {
  send(from: MemoryEndpoint, to: string, parcel: Parcel): void;
  broadcast(from: MemoryEndpoint, parcel: Parcel): void;
  probe(from: MemoryEndpoint, to: string, timeoutMs: number, answer: (verdict: Verdict) => void): void;
  connects(node: string): boolean;
  leave(endpoint: MemoryEndpoint): void;
}

export type Verdict = Awaited<ReturnType<TransportEndpoint['probe']>>;

/** Nodes that are remembered as lost; of the oldest it is forgotten. */
const LOST_MAX = 1_000;

/** One node's end. Owns its listeners, its probes without an answer, and whom it was told to take for lost. */
export class MemoryEndpoint implements TransportEndpoint {
  readonly node: string;
  /** Nodes whose loss is about to be reported. */
  readonly reporting = new Set<string>();
  readonly #network: Network;
  readonly #receive: (envelope: unknown) => void;
  readonly #lossListeners: ((node: string) => void)[] = [];
  readonly #broadcastListeners: ((body: unknown) => void)[] = [];
  readonly #probes = new Set<(verdict: Verdict) => void>();
  readonly #declaredLost = new Set<string>();
  #open = true;

  constructor(network: Network, node: string, receive: (envelope: unknown) => void) {
    this.#network = network;
    this.node = node;
    this.#receive = receive;
  }

  get isConnected(): boolean {
    return this.#open && this.#network.connects(this.node);
  }

  send(toNode: string, envelope: Envelope): void {
    const text = encode(envelope);
    if (!this.#open) return;
    if (this.#declaredLost.has(toNode)) return this.#reportAgain(toNode);
    this.#network.send(this, toNode, { isBroadcast: false, text });
  }

  broadcast(body: unknown): void {
    const text = encode(body);
    if (this.#open) this.#network.broadcast(this, { isBroadcast: true, text });
  }

  onBroadcast(listener: (body: unknown) => void): void {
    this.#broadcastListeners.push(listener);
  }

  probe(node: string, timeoutMs: number): Promise<Verdict> {
    if (!this.#open) return Promise.resolve('unknown');
    return new Promise((resolve) => {
      const answer = (verdict: Verdict): void => {
        this.#probes.delete(answer);
        resolve(verdict);
      };
      this.#probes.add(answer);
      this.#network.probe(this, node, timeoutMs, answer);
    });
  }

  onNodeLost(listener: (node: string) => void): void {
    this.#lossListeners.push(listener);
  }

  declareLost(node: string): void {
    this.#declaredLost.delete(node);
    this.#declaredLost.add(node);
    const [oldest] = this.#declaredLost;
    if (this.#declaredLost.size > LOST_MAX && oldest !== undefined) this.#declaredLost.delete(oldest);
    this.lost(node);
  }

  detach(): Promise<void> {
    if (this.#open) this.#network.leave(this);
    return Promise.resolve();
  }

  // Called by the network.

  receive(from: string, body: unknown, isBroadcast: boolean): void {
    if (!this.#open) return;
    // Whoever can be heard is there again.
    this.#declaredLost.delete(from);
    if (isBroadcast) for (const listener of this.#broadcastListeners) listener(body);
    else this.#receive(body);
  }

  lost(node: string): void {
    if (this.#open) for (const listener of this.#lossListeners) listener(node);
  }

  close(): void {
    this.#open = false;
    for (const answer of this.#probes) answer('unknown');
  }

  #reportAgain(node: string): void {
    if (this.reporting.has(node)) return;
    this.reporting.add(node);
    // Not before the sender has returned: it may still be noting down what it waits for.
    setImmediate(() => {
      this.reporting.delete(node);
      if (this.#declaredLost.has(node)) this.lost(node);
    });
  }
}

/** What crosses is text, so that no object is shared. */
function encode(body: unknown): string {
  try {
    // `undefined` has no JSON.
    return JSON.stringify(body) ?? 'null';
  } catch (error) {
    throw new InvariantError(`invariant broken: a message cannot be encoded: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
