/**
 * Owns how many chat requests are being served and which of them wait.
 *
 * Invariants: `running` exceeds `capacity()` only when the capacity was lowered meanwhile; waiting
 * requests enter in the order of their arrival; one that gives up waiting takes no place.
 */
export class CapacityGate {
  readonly #capacity: () => number;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  /** 0 means no limit. */
  constructor(capacity: () => number) {
    this.#capacity = capacity;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  get full(): boolean {
    const capacity = this.#capacity();
    return capacity > 0 && this.#running >= capacity;
  }

  /** True when a place was free; the caller must `leave`. */
  tryEnter(): boolean {
    if (this.full || this.#waiting.size > 0) return false;
    this.#running += 1;
    return true;
  }

  /** Calls `enter` once a place is free; the caller must `leave` then. The returned function gives up. */
  wait(enter: () => void): () => void {
    this.#waiting.add(enter);
    return () => {
      this.#waiting.delete(enter);
    };
  }

  leave(): void {
    this.#running -= 1;
    this.admit();
  }

  /** Lets in whoever fits; also called when the capacity was raised. */
  admit(): void {
    for (const enter of this.#waiting) {
      if (this.full) return;
      this.#waiting.delete(enter);
      this.#running += 1;
      enter();
    }
  }
}
