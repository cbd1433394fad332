/** Files of lines, plain or compressed; nothing is in memory but what is not written yet. */
import { createWriteStream } from 'node:fs';
import { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import { DlgforgeError } from '../../kernel/errors.ts';
import { naming } from '../output-error.ts';

export interface LineWriter {
  /** Waits while the disk is behind. */
  write(line: string): Promise<void>;
  close(): Promise<void>;
  /** Lets go of the file when the export has failed. */
  abandon(): void;
}

export function plainLines(path: string): LineWriter {
  return new StreamLines(path, [createWriteStream(path, { flags: 'wx' })]);
}

/** @throws DlgforgeError `usage` on a Node without zstd. */
export function zstdLines(path: string): LineWriter {
  requireZstd('the format jsonl.zst');
  const file = createWriteStream(path, { flags: 'wx' });
  const compressed = zlib.createZstdCompress();
  compressed.pipe(file);
  return new StreamLines(path, [compressed, file]);
}

/** Node has zstd since 22.15. @throws DlgforgeError `usage`. */
export function requireZstd(what: string): void {
  if (typeof (zlib as Partial<typeof zlib>).zstdCompressSync === 'function') return;
  throw new DlgforgeError(
    'usage',
    `${what} needs Node 22.15 or newer, and this is Node ${process.versions.node}. Update Node, or choose another format or compression (saving.export).`,
  );
}

const PENDING_MAX = 1 << 18;

class StreamLines implements LineWriter {
  readonly #path: string;
  /** What is written to, and what it flows through to the file. */
  readonly #streams: readonly Writable[];
  #pending: string[] = [];
  #pendingLength = 0;
  #failure: Error | null = null;

  constructor(path: string, streams: readonly Writable[]) {
    this.#path = path;
    this.#streams = streams;
    for (const stream of streams) {
      stream.on('error', (error: Error) => {
        this.#failure ??= error;
        this.abandon();
      });
    }
  }

  async write(line: string): Promise<void> {
    this.#pending.push(line, '\n');
    this.#pendingLength += line.length + 1;
    if (this.#pendingLength >= PENDING_MAX) await this.#flush();
  }

  async close(): Promise<void> {
    await this.#flush();
    const [first] = this.#streams;
    const last = this.#streams.at(-1);
    await naming(this.#path, async () => {
      first?.end();
      if (last === undefined) return;
      await finished(last).catch((error: unknown) => {
        throw this.#failure ?? error;
      });
    });
  }

  abandon(): void {
    for (const stream of this.#streams) stream.destroy();
  }

  async #flush(): Promise<void> {
    const text = this.#pending.join('');
    this.#pending = [];
    this.#pendingLength = 0;
    if (text === '') return;
    // The callback comes when the chunk is taken on, which is the back pressure that is wanted here.
    await naming(
      this.#path,
      () =>
        new Promise<void>((resolve, reject) => {
          const failed = this.#failure;
          if (failed !== null) {
            reject(failed);
            return;
          }
          this.#streams[0]?.write(text, (error) => {
            if (error) reject(this.#failure ?? error);
            else resolve();
          });
        }),
    );
  }
}
