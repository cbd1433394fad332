/**
 * Nodes joined by a NATS server. Owns the nodes that are attached through this connection.
 *
 * Every node has one mailbox subject, one subject that answers probes, and hears the subject of all. Batches
 * carry a reply subject, on which the server says when nobody receives them: that is how a sender hears at once
 * that a node's process has ended.
 */
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Transport, TransportEndpoint } from '../../ports/transport.ts';
import { NatsEndpoint, type NatsTransportStats, probe } from './nats-endpoint.ts';
import type { Wire } from './wire.ts';

/** An own process of that name would have answered in a fraction of this. */
const NAME_PROBE_MS = 1_000;

export class NatsTransport implements Transport {
  readonly #wire: Wire;
  readonly #attached = new Map<string, NatsEndpoint | null>();
  /** Of nodes that have left. */
  #past: NatsTransportStats = { sent: 0, publishes: 0, received: 0, dropped: 0, refused: 0 };

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /**
   * @throws DlgforgeError `held` when the name answers already; two that attach one name at the same moment
   * are not told, so names have something random in them.
   */
  async attach(node: string, receive: (envelope: unknown) => void): Promise<TransportEndpoint> {
    if (this.#attached.has(node)) throw held(node);
    this.#attached.set(node, null);
    if ((await probe(this.#wire, node, NAME_PROBE_MS)) === 'there') {
      this.#attached.delete(node);
      throw held(node);
    }
    const endpoint = new NatsEndpoint(this.#wire, node, receive, () => this.#left(node, endpoint));
    this.#attached.set(node, endpoint);
    // From here on whoever sends to it reaches it.
    if (this.#wire.isConnected) await this.#wire.nats.flush().catch(() => undefined);
    return endpoint;
  }

  stats(): NatsTransportStats {
    let sum = this.#past;
    for (const endpoint of this.#attached.values()) if (endpoint !== null) sum = added(sum, endpoint.stats());
    return sum;
  }

  async close(): Promise<void> {
    for (const endpoint of this.#attached.values()) await endpoint?.detach();
  }

  #left(node: string, endpoint: NatsEndpoint): void {
    this.#attached.delete(node);
    this.#past = added(this.#past, endpoint.stats());
  }
}

function held(node: string): DlgforgeError {
  return new DlgforgeError(
    'held',
    `a node named ${node} is attached already; give each node a name of its own`,
  );
}

function added(a: NatsTransportStats, b: NatsTransportStats): NatsTransportStats {
  return {
    sent: a.sent + b.sent,
    publishes: a.publishes + b.publishes,
    received: a.received + b.received,
    dropped: a.dropped + b.dropped,
    refused: a.refused + b.refused,
  };
}
