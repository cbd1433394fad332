/**
 * The rows of one conversation in UTF-8. Its long texts (tool results, answers) stand in three or four of
 * the files each; they are quoted and encoded once.
 *
 * Owns those encoded texts and the buffer that a row is put together in; both go with the conversation.
 */
import {
  type JsonSink,
  jsonString,
  writePythonJson,
  writePythonJsonIndented,
} from '../dialogue/python-json.ts';

/** Shorter texts are quicker encoded again than found again. */
const LONG_TEXT = 200;
const FIRST_CAPACITY = 64 * 1024;
/** UTF-8 needs at most this many bytes for a UTF-16 unit. */
const BYTES_PER_UNIT = 3;

export class JsonBytes {
  readonly #sink = new ByteSink();

  /** One line, without its end. */
  line(row: object): Uint8Array {
    writePythonJson(row, this.#sink);
    return this.#sink.take();
  }

  indented(value: object): Uint8Array {
    writePythonJsonIndented(value, this.#sink);
    return this.#sink.take();
  }
}

class ByteSink implements JsonSink {
  readonly #longTexts = new Map<string, Uint8Array>();
  #buffer = Buffer.allocUnsafe(FIRST_CAPACITY);
  #length = 0;
  /** Short pieces that are not encoded yet. */
  #pending = '';

  add(piece: string): void {
    this.#pending += piece;
  }

  addString(text: string): void {
    if (text.length < LONG_TEXT) {
      this.#pending += jsonString(text);
      return;
    }
    this.#encodePending();
    const bytes = this.#longText(text);
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** What was added since the last time. */
  take(): Uint8Array {
    this.#encodePending();
    const bytes = Buffer.from(this.#buffer.subarray(0, this.#length));
    this.#length = 0;
    return bytes;
  }

  #longText(text: string): Uint8Array {
    const known = this.#longTexts.get(text);
    if (known !== undefined) return known;
    const bytes = Buffer.from(jsonString(text));
    this.#longTexts.set(text, bytes);
    return bytes;
  }

  #encodePending(): void {
    this.#reserve(this.#pending.length * BYTES_PER_UNIT);
    this.#length += this.#buffer.write(this.#pending, this.#length);
    this.#pending = '';
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }
}
