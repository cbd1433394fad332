/**
 * Hands conversations to workers. Dispatch, not truth: losing all of it loses nothing, because what
 * has to be done is known from the store.
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
  /** The work is done for good. */
  ack(): void;
  /** Somebody else is to do it. */
  release(): void;
}

export interface WorkConsumer {
  /** Takes no more; deliveries in hand go to others. */
  close(): void;
}

export interface WorkQueue {
  /** Publishing an item that is queued or in hand changes nothing. */
  publish(item: WorkItem): void;
  /** At most `capacity` deliveries are in the consumer's hands at once. */
  consume(capacity: number, deliver: (delivery: Delivery) => void): WorkConsumer;
  /** Items that nobody has taken. */
  readonly waiting: number;
}
