/**
 * What a server writes. The server writes into its file itself, so nothing that happens to us breaks its output;
 * we read behind it. Owns the phase that the log tells, and the last lines, both bounded (I9).
 *
 * The file is rotated by whoever reads it: copied to `<name>.1` and cut to nothing, because the server keeps the
 * file open (it appends, so it goes on at the start). Lines that are written in the moment between are lost.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { stripVTControlCharacters } from 'node:util';
import type { StartPhase } from '../../ports/server-process.ts';

const READ_EVERY_MS = 100;
const BYTES_MAX = 20 * 1024 * 1024;
const FILES_KEPT = 3;
const LINES_KEPT = 40;
const LINE_CHARS_MAX = 500;
/** What a server says of each request that it has served, ours and every probe: it would push out all else. */
const SERVED = /"(?:GET|POST) \S+ HTTP\/[\d.]+" 200\b/;
const CHUNK_BYTES = 256 * 1024;
/** Read at one go; a server that writes faster is read later, or not at all. */
const CHUNKS_AT_ONCE = 16;
/** Of a log that was there before: enough for the last lines and the phase. */
const BACK_BYTES = 64 * 1024;

export interface ServerLogOptions {
  readonly path: string;
  /** Whether what stands there already counts: the server was started by another process. */
  readonly fromBefore: boolean;
  /** Takes secrets out of the lines that are handed on (I8). */
  readonly redact: (text: string) => string;
  /** @default 20 MiB */
  readonly bytesMax?: number;
}

export class ServerLog {
  readonly #options: ServerLogOptions;
  readonly #descriptor: number;
  readonly #timer: NodeJS.Timeout;
  readonly #lines = new LineTail();
  #offset: number;
  #isClosed = false;

  constructor(options: ServerLogOptions) {
    this.#options = options;
    mkdirSync(dirname(options.path), { recursive: true });
    this.#descriptor = openSync(options.path, 'a+');
    const { size } = fstatSync(this.#descriptor);
    this.#offset = options.fromBefore ? Math.max(0, size - BACK_BYTES) : size;
    this.#timer = setInterval(() => this.#read(), READ_EVERY_MS).unref();
  }

  /** For the server's standard output and error. */
  get descriptor(): number {
    return this.#descriptor;
  }

  get phase(): StartPhase {
    return this.#lines.phase;
  }

  /** It takes connections: the one phase that its log does not decide. */
  started(): void {
    this.#lines.phase = 'started';
  }

  lastLines(): readonly string[] {
    this.#read();
    return this.#lines.last().map(this.#options.redact);
  }

  /** Reads what is there; the last lines stay at hand. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#read();
    this.#isClosed = true;
    clearInterval(this.#timer);
    closeSync(this.#descriptor);
  }

  #read(): void {
    if (this.#isClosed) return;
    try {
      this.#readOn();
    } catch {
      // The disk is away or full. The server goes on, and so does whoever watches it; these lines are missed.
    }
  }

  #readOn(): void {
    const { size } = fstatSync(this.#descriptor);
    // Cut by another reader, or far ahead of us: the newest lines are what counts.
    if (size < this.#offset) this.#offset = 0;
    if (size - this.#offset > CHUNK_BYTES * CHUNKS_AT_ONCE)
      this.#offset = size - CHUNK_BYTES * CHUNKS_AT_ONCE;
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(0, size - this.#offset)));
    while (this.#offset < size) {
      const length = readSync(this.#descriptor, chunk, 0, chunk.length, this.#offset);
      if (length === 0) break;
      this.#offset += length;
      this.#lines.add(chunk.subarray(0, length));
    }
    if (size > (this.#options.bytesMax ?? BYTES_MAX)) this.#rotate();
  }

  #rotate(): void {
    const { path } = this.#options;
    for (let n = FILES_KEPT - 1; n >= 1; n -= 1)
      if (existsSync(`${path}.${n}`)) renameSync(`${path}.${n}`, `${path}.${n + 1}`);
    try {
      copyFileSync(path, `${path}.1`);
    } finally {
      // Also when it could not be copied: a log that nobody can keep must not grow.
      ftruncateSync(this.#descriptor, 0);
      this.#offset = 0;
    }
  }
}

/** The last lines of a text that comes in pieces, and the phase that they tell. */
export class LineTail {
  phase: StartPhase = 'starting';
  readonly #decoder = new StringDecoder('utf8');
  readonly #lines: string[] = [];
  #open = '';

  add(piece: Buffer): void {
    // A progress bar writes itself anew after a carriage return; only its last state is a line.
    // One at the very end may be the first half of a line end.
    const parts = (this.#open + this.#decoder.write(piece)).split(/(\r\n|\n|\r(?!$))/);
    this.#open = (parts.pop() ?? '').slice(0, LINE_CHARS_MAX);
    for (let at = 0; at + 1 < parts.length; at += 2) this.#end(parts[at] ?? '', parts[at + 1] !== '\r');
    this.#look(this.#open);
  }

  /** Oldest first, with the one that is not ended yet. */
  last(): readonly string[] {
    const open = cleanLine(this.#open);
    return open === '' ? [...this.#lines] : [...this.#lines, open].slice(-LINES_KEPT);
  }

  #end(text: string, isLine: boolean): void {
    this.#look(text);
    const line = cleanLine(text);
    if (!isLine || line === '' || SERVED.test(line)) return;
    this.#lines.push(line);
    if (this.#lines.length > LINES_KEPT) this.#lines.shift();
  }

  #look(text: string): void {
    if (this.phase !== 'started') this.phase = phaseOf(text) ?? this.phase;
  }
}

/** Colours and other control characters have no place in an error message. */
function cleanLine(text: string): string {
  return stripVTControlCharacters(text.slice(0, LINE_CHARS_MAX))
    .replace(/\p{Cc}/gu, ' ')
    .trimEnd();
}

/**
 * Texts of vLLM 0.6 to 0.25, in the order in which a start runs through them; the first that fits counts. vLLM
says "Starting to load model" before it downloads, and its loader has a progress bar of its own per format.
 */
const PHASES: readonly (readonly [StartPhase, RegExp])[] = [
  [
    'warming up',
    /Graph capturing finished|init engine \(|Starting vLLM API server|Waiting for application startup|Application startup complete|Warming up/i,
  ],
  [
    'capturing graphs',
    /Capturing (?:the model for )?CUDA ?graphs?|Capturing CUDA graph shapes|Capturing cudagraphs/i,
  ],
  [
    'compiling',
    /torch\.compile|Dynamo bytecode transform|Compiling a graph|Available KV cache memory|GPU KV cache size|Memory profiling takes/i,
  ],
  [
    'loading the weights',
    /Loading \S+(?: \S+)? checkpoint shards|Loading safetensors|Loading pt checkpoint|Loading weights took|Model loading took|Starting to load model|Time spent downloading weights/i,
  ],
  [
    'downloading the model',
    /Using model weights format|Downloading|Fetching \d+ files|\.(?:safetensors|bin|json|gguf|model|txt|pth?)(?:\.index\.json)?: +(?:\d+%|[\d.]+[kMGT]?B? )/,
  ],
];

export function phaseOf(line: string): StartPhase | null {
  return PHASES.find(([, pattern]) => pattern.test(line))?.[0] ?? null;
}
