/** The files of clients and of results, in memory and bounded: the oldest that nobody needs go first. */
export interface BatchFile {
  readonly id: string;
  readonly name: string;
  readonly purpose: string;
  readonly createdAtMs: number;
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
}

export class BatchFiles {
  readonly #limitBytes: () => number;
  /** Oldest first. */
  readonly #files = new Map<string, BatchFile>();
  readonly #pins = new Map<string, number>();
  #bytes = 0;
  #made = 0;

  constructor(limitBytes: () => number) {
    this.#limitBytes = limitBytes;
  }

  /** Null when there is no room for it. */
  add(name: string, purpose: string, chunks: readonly Uint8Array[]): BatchFile | null {
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    this.#makeRoom(bytes);
    if (this.#bytes + bytes > this.#limitBytes()) return null;
    this.#made += 1;
    const file = {
      id: `file-rehearsal-${this.#made}`,
      name,
      purpose,
      createdAtMs: Date.now(),
      chunks,
      bytes,
    };
    this.#files.set(file.id, file);
    this.#bytes += bytes;
    return file;
  }

  get(id: string): BatchFile | undefined {
    return this.#files.get(id);
  }

  delete(id: string): boolean {
    const file = this.#files.get(id);
    if (file === undefined || this.#pins.has(id)) return false;
    this.#files.delete(id);
    this.#bytes -= file.bytes;
    return true;
  }

  /** It stays until it is released. */
  pin(id: string): void {
    this.#pins.set(id, (this.#pins.get(id) ?? 0) + 1);
  }

  release(id: string): void {
    const pins = (this.#pins.get(id) ?? 0) - 1;
    if (pins > 0) this.#pins.set(id, pins);
    else this.#pins.delete(id);
  }

  #makeRoom(bytes: number): void {
    for (const id of this.#files.keys()) {
      if (this.#bytes + bytes <= this.#limitBytes()) return;
      this.delete(id);
    }
  }
}
