/**
 * What is under way from one node to another, in memory. Owns the messages between `add` and `take`;
 * when they travel is the network's business.
 *
 * Invariants: 1. batches are taken in the order in which they left, unless the taker asks otherwise;
 * 2. `underWay` counts every message that was added and neither taken nor lost.
 */
export interface Parcel {
  readonly isBroadcast: boolean;
  /** JSON. */
  readonly text: string;
}

export interface Arrival {
  readonly isBroadcast: boolean;
  readonly body: unknown;
}

export class Link {
  readonly from: string;
  readonly to: string;
  /** The latest arrival so far: a later batch does not overtake it (invariant 1). */
  lastArrivalMs = 0;
  /** Batches whose time has come while the receiver stood still. */
  overdue = 0;
  #underWay = 0;
  /** Messages that wait for the end of this turn, or for their sender to go on. */
  #waiting: Parcel[] = [];
  /** Under way, oldest first. Each has a timer, and whichever fires takes the oldest. */
  readonly #batches: (readonly Parcel[])[] = [];

  constructor(from: string, to: string) {
    this.from = from;
    this.to = to;
  }

  get underWay(): number {
    return this.#underWay;
  }

  get batchCount(): number {
    return this.#batches.length;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  add(parcel: Parcel): void {
    this.#waiting.push(parcel);
    this.#underWay += 1;
  }

  /** What waits is under way as one batch from now on. */
  depart(): void {
    this.#batches.push(this.#waiting);
    this.#waiting = [];
  }

  /** The batch that departed last travels once more. */
  duplicate(): void {
    const batch = this.#batches.at(-1) ?? [];
    this.#batches.push(batch);
    this.#underWay += batch.length;
  }

  /** Loses the batch that departed last; how many messages it had. */
  lose(): number {
    const lost = this.#batches.pop()?.length ?? 0;
    this.#underWay -= lost;
    return lost;
  }

  /** The oldest batch, or the one behind it, decoded: nobody shares an object with its sender. */
  take(overtaken: boolean): readonly Arrival[] {
    const [batch = []] = this.#batches.splice(overtaken && this.#batches.length > 1 ? 1 : 0, 1);
    this.#underWay -= batch.length;
    const bodies = JSON.parse(`[${batch.map(({ text }) => text).join(',')}]`) as readonly unknown[];
    return batch.map(({ isBroadcast }, i) => ({ isBroadcast, body: bodies[i] }));
  }
}
