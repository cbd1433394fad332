import { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

export interface FileLine {
  /** From 1. */
  readonly number: number;
  readonly text: string;
  /** The same, as it stands in the file. */
  readonly bytes: Buffer;
  /** Where the line starts and where the next one does. */
  readonly start: number;
  readonly end: number;
}

/**
 * The lines of a file, split on `\n` only: U+2028 and U+0085 are text, not ends of lines. Streams; needs
 * the memory of its longest line.
 */
export function fileLines(path: string): AsyncGenerator<FileLine> {
  return linesOf(createReadStream(path, { highWaterMark: CHUNK_BYTES }));
}

/** The lines of an open file up to `size`; it stays open, and can be read again. */
export async function* handleLines(file: FileHandle, size: number): AsyncGenerator<FileLine> {
  if (size === 0) return;
  const end = size - 1;
  yield* linesOf(file.createReadStream({ start: 0, end, autoClose: false, highWaterMark: CHUNK_BYTES }));
}

const CHUNK_BYTES = 1 << 18;

async function* linesOf(chunks: AsyncIterable<unknown>): AsyncGenerator<FileLine> {
  let rest: Buffer[] = [];
  let number = 0;
  let start = 0;
  const line = (bytes: Buffer, ended: boolean): FileLine => {
    const end = start + bytes.length + (ended ? 1 : 0);
    number += 1;
    const found = { number, text: bytes.toString('utf8'), bytes, start, end };
    start = end;
    return found;
  };
  for await (const chunk of chunks as AsyncIterable<Buffer>) {
    let from = 0;
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, from)) {
      yield line(Buffer.concat([...rest, chunk.subarray(from, at)]), true);
      rest = [];
      from = at + 1;
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
  if (rest.length > 0) yield line(Buffer.concat(rest), false);
}
