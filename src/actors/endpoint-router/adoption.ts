/** Long enough for every node to hear of the new router, or to be known as lost. */
const WAIT_MAX_MS = 6_000;

/**
 * What a router must hear before it grants anything: which permits are out that it does not know of (I7).
 * A new router waits for all nodes; later it waits for a node that had taken it for lost and is there
 * again, because the actors of both have forgotten what was between them. Owns who is to report.
 */
export class Adoption {
  readonly #living: () => readonly string[];
  /** Null: everybody but those that have reported. */
  #expected: Set<string> | null = null;
  readonly #reported = new Set<string>();
  #endsAtMs: number | null = null;
  #isComplete = false;

  /** `living`: the nodes that may hold permits, as known now. */
  constructor(living: () => readonly string[]) {
    this.#living = living;
  }

  reported(node: string): void {
    this.#reported.add(node);
  }

  /** The permits of a node are not known any more. Nothing when the node itself is gone. */
  forgotten(node: string, nowMs: number): void {
    if (!this.#living().includes(node)) return;
    if (this.#isComplete) this.#expected = new Set();
    this.#expected?.add(node);
    this.#reported.delete(node);
    this.#isComplete = false;
    this.#endsAtMs = nowMs + WAIT_MAX_MS;
  }

  /** It takes a few seconds at most: who is silent for that long sends nothing either. */
  isComplete(nowMs: number): boolean {
    if (this.#isComplete) return true;
    this.#endsAtMs ??= nowMs + WAIT_MAX_MS;
    this.#isComplete = nowMs >= this.#endsAtMs || this.#living().every((node) => this.#hasReported(node));
    if (this.#isComplete) this.#reported.clear();
    return this.#isComplete;
  }

  #hasReported(node: string): boolean {
    return this.#reported.has(node) || this.#expected?.has(node) === false;
  }
}
