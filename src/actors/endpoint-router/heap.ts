/** An entry of a heap; keep it to take the value out again from anywhere in the heap. */
export interface HeapEntry<T> {
  readonly value: T;
  /** Position in the heap; −1 once it has left. */
  position: number;
}

/** A binary min-heap whose entries can leave from the middle; every operation is O(log n). */
export class Heap<T> {
  readonly #before: (a: T, b: T) => boolean;
  readonly #entries: HeapEntry<T>[] = [];

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#entries.length;
  }

  peek(): T | undefined {
    return this.#entries[0]?.value;
  }

  push(value: T): HeapEntry<T> {
    const entry: HeapEntry<T> = { value, position: this.#entries.length };
    this.#entries.push(entry);
    this.#up(entry);
    return entry;
  }

  /** Takes an entry out; one that has left already is left alone. */
  remove(entry: HeapEntry<T>): void {
    if (entry.position < 0) return;
    const last = this.#entries.pop() as HeapEntry<T>;
    if (last !== entry) {
      this.#place(last, entry.position);
      this.#up(last);
      this.#down(last);
    }
    entry.position = -1;
  }

  #up(entry: HeapEntry<T>): void {
    while (entry.position > 0) {
      const position = (entry.position - 1) >> 1;
      const parent = this.#entries[position] as HeapEntry<T>;
      if (!this.#before(entry.value, parent.value)) return;
      this.#place(parent, entry.position);
      this.#place(entry, position);
    }
  }

  #down(entry: HeapEntry<T>): void {
    for (;;) {
      const left = this.#entries[2 * entry.position + 1];
      const right = this.#entries[2 * entry.position + 2];
      if (left === undefined) return;
      const child = right !== undefined && this.#before(right.value, left.value) ? right : left;
      if (!this.#before(child.value, entry.value)) return;
      const position = child.position;
      this.#place(child, entry.position);
      this.#place(entry, position);
    }
  }

  #place(entry: HeapEntry<T>, position: number): void {
    this.#entries[position] = entry;
    entry.position = position;
  }
}
