/**
 * Blobs in a JetStream object store, one bucket for each namespace, in the layout that NATS's own tools read: an
 * entry that describes the object (`$O.<bucket>.M.<name>`) and its bytes in chunks (`$O.<bucket>.C.<id>`).
 *
 * The library's own `put` and `get` hold the whole object in memory and leave failed publishes unhandled; here
 * at most `CHUNKS_UNDER_WAY` chunks are under way.
 *
 * Invariants: 1. an entry is written after its chunks are stored, and only when there is none; 2. what a reader
 * gets under the path that it named is whole and has the digest of the entry; 3. the bucket is bounded: the
 * oldest blobs give way.
 */
import { createHash, randomUUID } from 'node:crypto';
import { open, rename, rm, stat } from 'node:fs/promises';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import { BlobBucket, type BlobEntry, CHUNK_BYTES } from './blob-bucket.ts';
import { jetStreamFault } from './work-stream.ts';
import type { Wire } from './wire.ts';

const BLOBS_MAX = 32;
const BUCKET_BYTES_MAX = 16 * 1024 ** 3;
const CHUNKS_UNDER_WAY = 16;

/** @throws DlgforgeError `transport` when the server has no JetStream. */
export async function openObjectBlobs(wire: Wire): Promise<BlobStore> {
  try {
    return new ObjectBlobs(wire, await BlobBucket.open(wire));
  } catch (error) {
    throw jetStreamFault(wire, error);
  }
}

class ObjectBlobs implements BlobStore {
  readonly #wire: Wire;
  readonly #bucket: BlobBucket;

  constructor(wire: Wire, bucket: BlobBucket) {
    this.#wire = wire;
    this.#bucket = bucket;
  }

  has(name: string): Promise<boolean> {
    return this.#explained('look for', name, async () => {
      const entry = await this.#bucket.entry(name);
      return entry !== null && (await this.#bucket.isWhole(entry));
    });
  }

  put(name: string, path: string): Promise<void> {
    return this.#explained('store', name, async () => {
      await this.#bucket.ensure();
      if (await this.has(name)) return;
      const { size } = await stat(path);
      if (size > BUCKET_BYTES_MAX)
        throw new DlgforgeError('transport', `${path} has ${size} bytes, more than ${BUCKET_BYTES_MAX}`);
      await this.#makeRoom(size);
      const id = randomUUID().replaceAll('-', '');
      try {
        const entry = await this.#upload(name, id, path);
        if (!(await this.#bucket.writeEntry(entry))) await this.#bucket.dropChunks(id);
      } catch (error) {
        // Best effort: what stays behind is swept by a later `put`.
        await this.#bucket.dropChunks(id).catch(() => undefined);
        throw error;
      }
    });
  }

  get(name: string, path: string): Promise<boolean> {
    return this.#explained('fetch', name, async () => {
      const entry = await this.#bucket.entry(name);
      if (entry === null) return false;
      const partial = `${path}.${randomUUID()}.part`;
      try {
        const whole = await this.#download(entry, partial);
        if (whole) await rename(partial, path);
        else await this.#bucket.remove(entry);
        return whole;
      } finally {
        await rm(partial, { force: true });
      }
    });
  }

  delete(name: string): Promise<void> {
    return this.#explained('delete', name, async () => {
      const entry = await this.#bucket.entry(name);
      if (entry !== null) await this.#bucket.remove(entry);
    });
  }

  async #upload(name: string, id: string, path: string): Promise<BlobEntry> {
    const file = await open(path, 'r');
    const digest = createHash('sha256');
    let size = 0;
    let chunks = 0;
    let underWay: Promise<void>[] = [];
    try {
      for await (const chunk of file.createReadStream({ highWaterMark: CHUNK_BYTES, autoClose: false })) {
        const bytes = chunk as Buffer;
        digest.update(bytes);
        size += bytes.length;
        chunks += 1;
        underWay.push(this.#bucket.writeChunk(id, bytes));
        if (underWay.length < CHUNKS_UNDER_WAY) continue;
        await Promise.all(underWay);
        underWay = [];
      }
      await Promise.all(underWay);
    } finally {
      // After a failure the others are still under way, and their failures say nothing new.
      await Promise.allSettled(underWay);
      await file.close();
    }
    return this.#bucket.describe(name, id, size, chunks, digest.digest());
  }

  /** False when the blob is not whole. */
  async #download(entry: BlobEntry, partial: string): Promise<boolean> {
    const file = await open(partial, 'wx', 0o600);
    const digest = createHash('sha256');
    let size = 0;
    try {
      for await (const bytes of this.#bucket.chunks(entry)) {
        digest.update(bytes);
        size += bytes.length;
        await file.writeFile(bytes);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    const whole = size === entry.size && this.#bucket.digestText(digest.digest()) === entry.digest;
    if (!whole) {
      const text = `[nats] the blob ${entry.name} was damaged in the store and is dropped; whoever has it stores it again`;
      this.#wire.logger.log('warn', 'cluster', text);
    }
    return whole;
  }

  async #makeRoom(bytes: number): Promise<void> {
    const entries = await this.#bucket.entries();
    await this.#bucket.sweep(entries);
    const oldestFirst = entries.toSorted((a, b) => (a.mtime < b.mtime ? -1 : 1));
    let total = oldestFirst.reduce((sum, { size }) => sum + size, bytes);
    let count = oldestFirst.length + 1;
    for (const entry of oldestFirst) {
      if (total <= BUCKET_BYTES_MAX && count <= BLOBS_MAX) return;
      await this.#bucket.remove(entry);
      total -= entry.size;
      count -= 1;
    }
  }

  async #explained<T>(verb: string, name: string, act: () => Promise<T>): Promise<T> {
    try {
      // Without a connection every request would only wait for its end.
      if (!this.#wire.isConnected) throw new Error('the connection is lost');
      return await act();
    } catch (error) {
      if (error instanceof DlgforgeError) throw error;
      const text = `NATS at ${this.#wire.shown} could not ${verb} ${name}: ${messageOf(error)}; it is tried again when it is needed`;
      throw new DlgforgeError('transport', text, { retryable: true, cause: error });
    }
  }
}
