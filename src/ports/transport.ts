/**
 * Carries encoded messages between nodes. The memory adapter encodes and decodes like the network
 * one, so that what works in one process works on many.
 */
export interface Envelope {
  /** Protocol version of the sender; a receiver refuses what it does not speak. */
  readonly version: number;
  readonly from: string;
  /**
   * `tell`: to an actor. `ask`: to an actor, answer expected. `reply`: to an ask. `fail`: the ask cannot
   * be answered. `watch`, `unwatch`: of an actor. `terminated`: a watched actor is gone.
   */
  readonly kind: 'tell' | 'ask' | 'reply' | 'fail' | 'watch' | 'unwatch' | 'terminated';
  readonly path?: string;
  readonly incarnation?: number;
  readonly correlation?: string;
  /** How long the asker will wait. */
  readonly timeoutMs?: number;
  /** JSON. */
  readonly body: unknown;
}

export interface Transport {
  /**
   * Starts to receive for `node`. `receive` gets what arrived, decoded but not validated (I10).
   * @throws DlgforgeError `held` when the name is attached already.
   */
  attach(node: string, receive: (envelope: unknown) => void): Promise<TransportEndpoint>;
}

export interface TransportEndpoint {
  /**
   * Best effort, in order per destination; never waits. Coalesced per event-loop turn. Encoded before
   * it returns, so that what the sender changes later does not travel.
   * @throws InvariantError when the body cannot be encoded; never for what the network does.
   */
  send(toNode: string, envelope: Envelope): void;
  /** To every attached node, this one included; best effort, like `send`. Plain JSON, a few kilobytes. */
  broadcast(body: unknown): void;
  /** Hears broadcasts, its own too, decoded but not validated (I10). */
  onBroadcast(listener: (body: unknown) => void): void;
  /**
   * Whether anybody receives for `node`: `gone` is certain at once (its process has ended), `there` says its
   * process runs, `unknown` that no answer came in time (frozen, cut off, or this node is).
   */
  probe(node: string, timeoutMs: number): Promise<'there' | 'gone' | 'unknown'>;
  /** The verdict of whoever watches the nodes: listeners of `onNodeLost` are told. */
  declareLost(node: string): void;
  /** Whether the way to the others is open as far as this end can tell; without a network, always. */
  readonly isConnected: boolean;
  /**
   * Called when a node is known to be gone, and again when something is sent to one that is known to be
   * gone; asks to it fail then.
   */
  onNodeLost(listener: (node: string) => void): void;
  /** Sends what is waiting, then leaves; the other nodes hear that this one is gone. Idempotent. */
  detach(): Promise<void>;
}
