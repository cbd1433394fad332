/**
 * Carries encoded messages between nodes. The memory adapter encodes and decodes like the network
 * one, so that what works in one process works on many.
 */
export interface Envelope {
  /** Protocol version of the sender; a receiver refuses what it does not speak. */
  readonly version: number;
  readonly from: string;
  /** `tell`: to an actor. `ask`: to an actor, answer expected. `reply`: to an ask. `fail`: the ask cannot be answered. */
  readonly kind: 'tell' | 'ask' | 'reply' | 'fail';
  readonly path?: string;
  readonly incarnation?: number;
  readonly correlation?: string;
  readonly body: unknown;
}

export interface Transport {
  /** Starts to receive for `node`; a name is attached once. */
  attach(node: string, receive: (envelope: Envelope) => void): Promise<TransportEndpoint>;
}

export interface TransportEndpoint {
  /** Best effort, in order per destination; never throws, never waits. Coalesced per event-loop turn. */
  send(toNode: string, envelope: Envelope): void;
  /** Called when a node is known to be gone; asks to it fail then. */
  onNodeLost(listener: (node: string) => void): void;
  detach(): Promise<void>;
}
