/**
 * Owns the open handles of the six line files of one folder and how long each file is.
 *
 * - A write goes to the recorded end of its file, so what a torn write left behind is overwritten.
 * - The recorded length moves only when a write is complete; `cutBack` takes off what is beyond it.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { LINE_FILES, type LineFile } from './dataset-rows.ts';
import { naming, settleAll } from './output-error.ts';

/** Made when it is not there, never cut; not for appending, which would ignore the position of a write. */
const READ_WRITE = constants.O_RDWR | constants.O_CREAT;

export type LineSizes = Readonly<Record<LineFile, number>>;

export const sizesOf = (of: (name: LineFile) => number): LineSizes =>
  Object.fromEntries(LINE_FILES.map((name) => [name, of(name)])) as Record<LineFile, number>;

export class LineFiles {
  readonly #pathOf: (name: LineFile) => string;
  readonly #handles: ReadonlyMap<LineFile, FileHandle>;
  readonly #unsynced = new Set<LineFile>();
  #sizes: LineSizes;

  private constructor(
    pathOf: (name: LineFile) => string,
    handles: ReadonlyMap<LineFile, FileHandle>,
    sizes: LineSizes,
  ) {
    this.#pathOf = pathOf;
    this.#handles = handles;
    this.#sizes = sizes;
  }

  /** Opens all six, making those that are not there. Nothing is cut. */
  static async open(pathOf: (name: LineFile) => string, sizes: LineSizes): Promise<LineFiles> {
    const handles = new Map<LineFile, FileHandle>();
    try {
      for (const name of LINE_FILES) {
        const path = pathOf(name);
        handles.set(name, await naming(path, () => open(path, READ_WRITE)));
      }
    } catch (error) {
      await settleAll([...handles.values()].map((handle) => handle.close()));
      throw error;
    }
    return new LineFiles(pathOf, handles, sizes);
  }

  get sizes(): LineSizes {
    return this.#sizes;
  }

  async append(name: LineFile, bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    const handle = this.#handle(name);
    await naming(this.#pathOf(name), async () => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await handle.write(
          bytes,
          done,
          bytes.length - done,
          this.#sizes[name] + done,
        );
        done += bytesWritten;
      }
    });
    this.#unsynced.add(name);
    this.#sizes = { ...this.#sizes, [name]: this.#sizes[name] + bytes.length };
  }

  async sync(): Promise<void> {
    await settleAll(
      [...this.#unsynced].map((name) => naming(this.#pathOf(name), () => this.#handle(name).datasync())),
    );
    this.#unsynced.clear();
  }

  /** Shortens every file to `sizes`; gives the number of bytes that were taken off. */
  async cutBack(sizes: LineSizes): Promise<number> {
    let cut = 0;
    for (const name of LINE_FILES) {
      const handle = this.#handle(name);
      const { size } = await naming(this.#pathOf(name), () => handle.stat());
      if (size > sizes[name]) {
        await naming(this.#pathOf(name), () => handle.truncate(sizes[name]));
        cut += size - sizes[name];
      }
    }
    this.#sizes = sizes;
    return cut;
  }

  async close(): Promise<void> {
    await settleAll([...this.#handles.values()].map((handle) => handle.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #handle(name: LineFile): FileHandle {
    return this.#handles.get(name) as FileHandle;
  }
}
