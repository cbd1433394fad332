/**
 * A map of bounded size that forgets what has not been used lately.
 *
 * Two generations: what is used moves to the young one, and when that holds half of the limit, it
 * becomes the old one and the former old one is dropped. A strict least-recently-used order on a
 * `Map` costs a delete and an insert per read, and finding the oldest entry then has to step over
 * all that was deleted; this costs one lookup.
 */
export class BoundedMap<K, V> {
  readonly #limit: () => number;
  #young = new Map<K, V>();
  #old = new Map<K, V>();

  /** `limit` is asked at every insertion, so that it can change while the map lives; 2 at least. */
  constructor(limit: () => number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Reading counts as use. */
  get(key: K): V | undefined {
    const value = this.#young.get(key);
    if (value !== undefined) return value;
    const older = this.#old.get(key);
    if (older !== undefined) this.set(key, older);
    return older;
  }

  set(key: K, value: V): void {
    this.#old.delete(key);
    this.#young.set(key, value);
    if (this.#young.size < this.#limit() / 2) return;
    this.#old = this.#young;
    this.#young = new Map();
  }

  *entries(): IterableIterator<[K, V]> {
    yield* this.#old.entries();
    yield* this.#young.entries();
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }
}
