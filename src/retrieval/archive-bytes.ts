/** Reads a stream piece by piece: lines of JSON, and bytes of a length that is known. Bounded by a chunk. */
import type { Readable } from 'node:stream';

const LINE_MAX = 4_096;

export interface ArchiveBytes {
  /** The next line. */
  json(): Promise<unknown>;
  take(length: number): Promise<Buffer>;
  /** The next `length` bytes, as they come. */
  chunks(length: number): AsyncGenerator<Buffer>;
  /** Makes sure that there is nothing left; what compresses a stream has its own check there. */
  end(): Promise<void>;
}

/** Its methods throw when the stream ends or fails before they have what they want. */
export function archiveBytes(stream: Readable): ArchiveBytes {
  const source = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let held: Buffer = Buffer.alloc(0);

  const more = async (): Promise<void> => {
    const next = await source.next();
    if (next.done === true) throw new Error('it ends too early');
    held = held.length === 0 ? next.value : Buffer.concat([held, next.value]);
  };

  const cut = (length: number): Buffer => {
    const piece = held.subarray(0, length);
    held = held.subarray(length);
    return piece;
  };

  return {
    async json() {
      for (;;) {
        const end = held.indexOf(0x0a);
        if (end >= 0) return JSON.parse(cut(end + 1).toString('utf8')) as unknown;
        if (held.length > LINE_MAX) throw new Error('a line in it is too long');
        await more();
      }
    },
    async take(length) {
      while (held.length < length) await more();
      return cut(length);
    },
    async *chunks(length) {
      for (let left = length; left > 0; ) {
        if (held.length === 0) await more();
        const piece = cut(Math.min(left, held.length));
        left -= piece.length;
        yield piece;
      }
    },
    async end() {
      if (held.length > 0 || (await source.next()).done !== true)
        throw new Error('something follows its end');
    },
  };
}
