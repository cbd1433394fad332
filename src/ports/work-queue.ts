/**
 * Hands conversations to workers. Dispatch, not truth: losing all of it loses nothing, because what
 * has to be done is known from the store, and who does it from the run's coordinator.
 */
export interface WorkItem {
  readonly runId: string;
  readonly languageIndex: number;
  readonly index: number;
  /** Admission order; smaller is served first by the endpoints. */
  readonly priority: number;
}

export interface Delivery {
  readonly item: WorkItem;
  /** It is still being worked on: the queue does not give it to somebody else for another while. */
  renew(): void;
  /** The work is done for good. */
  ack(): void;
  /** Somebody else is to do it, at once. */
  release(): void;
  /** It is somebody else's already: it leaves these hands and nothing is said to the queue. */
  forget(): void;
}

export interface WorkConsumer {
  /** Deliveries that may be in hand at once from now on; those above it stay. */
  setCapacity(capacity: number): void;
  /** Takes no more; deliveries in hand go to others. */
  close(): void;
}

/** What the queue holds of all runs together. */
export interface QueueCounts {
  /** Waits for a worker. */
  readonly waiting: number;
  readonly inHand: number;
  /** In hand, and has been in other hands before. */
  readonly redelivered: number;
}

export interface WorkQueue {
  /** Publishing an item that is queued or in hand changes nothing. */
  publish(item: WorkItem): void;
  /** Publishes it also when it is in hand: whoever had it is gone. */
  republish(item: WorkItem): void;
  /** Takes an item out, wherever it is: it is done, and who had it may be gone. */
  withdraw(item: WorkItem): void;
  /** At most `capacity` deliveries of the run are in the consumer's hands at once. Deliveries spread evenly. */
  consume(runId: string, capacity: number, deliver: (delivery: Delivery) => void): WorkConsumer;
  /**
   * Called when the queue has, or may have, lost what was published (its server was away, or came back
   * empty): whoever published publishes again what nobody has. The returned function ends it.
   */
  onLoss(listener: () => void): () => void;
  /** The run is over: nothing of it stays in the queue. */
  drop(runId: string): void;
  /** For people and metrics. @throws DlgforgeError `transport` when the queue's server does not answer. */
  counts(): Promise<QueueCounts>;
}
