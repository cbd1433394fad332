/** Long enough for every node to hear of the new router, or to be known as lost. */
const WAIT_MAX_MS = 6_000;

/**
 * What a new router must hear before it grants anything: which permits of its predecessors are out (I7).
 * Owns who has reported.
 */
export class Adoption {
  readonly #awaited: () => readonly string[];
  readonly #reported = new Set<string>();
  #endsAtMs: number | null = null;
  #isComplete = false;

  /** `awaited`: the living nodes that may hold permits, as known now. */
  constructor(awaited: () => readonly string[]) {
    this.#awaited = awaited;
  }

  reported(node: string): void {
    if (!this.#isComplete) this.#reported.add(node);
  }

  /** From the first question on it takes a few seconds at most: who is silent for that long sends nothing either. */
  isComplete(nowMs: number): boolean {
    if (this.#isComplete) return true;
    this.#endsAtMs ??= nowMs + WAIT_MAX_MS;
    this.#isComplete = nowMs >= this.#endsAtMs || this.#awaited().every((node) => this.#reported.has(node));
    if (this.#isComplete) this.#reported.clear();
    return this.#isComplete;
  }
}
