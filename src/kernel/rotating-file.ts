import { closeSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * A log file that is renamed to `<name>.1` when it is full (`.1` to `.2`, … , the oldest goes).
 *
 * Writes are synchronous: lines are with the operating system when `write` returns, so a crash of this
 * process loses none of them. Each is one append of whole lines, so several processes can share the
 * file; one that finds the file renamed by another goes on in the new one.
 */
export class RotatingFile {
  readonly #path: string;
  readonly #bytesMax: number;
  readonly #keep: number;
  #descriptor: number;
  #size: number;

  constructor(path: string, bytesMax: number, keep: number) {
    mkdirSync(dirname(path), { recursive: true });
    this.#path = path;
    this.#bytesMax = bytesMax;
    this.#keep = keep;
    this.#descriptor = openSync(path, 'a');
    this.#size = fstatSync(this.#descriptor).size;
  }

  /** Together when they fit into the file, else line by line, so that it is filled before it is renamed. */
  write(lines: readonly string[]): void {
    const bytes = Buffer.from(lines.join(''));
    if (this.#size + bytes.length <= this.#bytesMax) this.#append(bytes);
    else for (const line of lines) this.#append(Buffer.from(line));
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #append(bytes: Buffer): void {
    if (this.#size > 0 && this.#size + bytes.length > this.#bytesMax) this.#rotate();
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#descriptor, bytes, done);
    this.#size += bytes.length;
  }

  #rotate(): void {
    if (this.#isStillInPlace()) {
      rmSync(`${this.#path}.${this.#keep}`, { force: true });
      for (let n = this.#keep - 1; n >= 1; n -= 1)
        moveIfThere(`${this.#path}.${n}`, `${this.#path}.${n + 1}`);
      moveIfThere(this.#path, `${this.#path}.1`);
    }
    const next = openSync(this.#path, 'a');
    closeSync(this.#descriptor);
    this.#descriptor = next;
    this.#size = fstatSync(next).size;
  }

  #isStillInPlace(): boolean {
    const current = statSync(this.#path, { throwIfNoEntry: false });
    return current !== undefined && current.ino === fstatSync(this.#descriptor).ino;
  }
}

function moveIfThere(from: string, to: string): void {
  if (statSync(from, { throwIfNoEntry: false }) !== undefined) renameSync(from, to);
}
