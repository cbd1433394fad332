/**
 * The five log files of a project (docs/outputs.md), or the one of a node. Owns their handles and the lines
 * of the last moment. `run.log` has everything, four categories have a file each as well. pino makes the
 * JSON lines.
 *
 * Lines are collected for `FLUSH_MS`, at most `PENDING_MAX` of them, and written to each file at once: a
 * write for every line would cost more than making it. A warning or an error is written at once, with
 * all that came before it, and so is everything when the process exits, also by an uncaught error. Only
 * a signal that nobody handles (kill -9) loses the last moment's lines below a warning.
 *
 * A logger never takes the run down: when lines cannot be written (disk full), that is said once on the
 * console, and the next ones are tried again.
 */
import { join } from 'node:path';
import pino from 'pino';
import { DlgforgeError, messageOf } from './errors.ts';
import type { LogCategory, Logger, LogLevel } from './logger.ts';
import { redactor } from './redact.ts';
import { RotatingFile } from './rotating-file.ts';
import { textLogLine } from './text-log-line.ts';

export interface FileLoggerOptions {
  /** `<project>/logs`; made when it is not there. */
  readonly folder: string;
  /** @default text */
  readonly format?: 'text' | 'json';
  /** @default info */
  readonly level?: LogLevel;
  /** A file that would get longer is renamed to `<name>.1`. @default 20 MiB */
  readonly bytesMax?: number;
  /** Instead of the five: everything in `<file>.log`. */
  readonly file?: string;
  /** Named in every line, for logs of several nodes that are read together. @default no name */
  readonly node?: string;
  /** Full files that are kept, per log. @default 5 */
  readonly keep?: number;
  /** Gets every message that is logged, without time and logger, for the terminal. */
  readonly console?: (level: LogLevel, message: string) => void;
}

export interface FileLogger extends Logger {
  /** Values that may never appear; adds to those that were given before (I8). */
  redact(secrets: readonly string[]): void;
  /** Everything is on disk when it returns. Idempotent; later lines are dropped. */
  close(): void;
}

const OWN_FILES = ['run', 'retrieval', 'tools', 'llm', 'judge'] as const;
const RANKS: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const BYTES_MAX = 20 * 1024 * 1024;
const KEEP = 5;
const FLUSH_MS = 20;
const PENDING_MAX = 1_000;

export function openFileLogger(options: FileLoggerOptions): FileLogger {
  return new OpenFileLogger(options);
}

class OpenFileLogger implements FileLogger {
  readonly #options: FileLoggerOptions;
  readonly #least: number;
  /** The file that has everything. */
  readonly #main: string;
  readonly #files: ReadonlyMap<string, RotatingFile>;
  readonly #pending = new Map<string, string[]>();
  readonly #jsonLoggers = new Map<LogCategory, pino.Logger>();
  readonly #secrets = new Set<string>();
  readonly #onExit = (): void => this.#flush();
  #timer: NodeJS.Timeout | null = null;
  #redact: (text: string) => string = (text) => text;
  #closed = false;
  #lossSaid = false;

  constructor(options: FileLoggerOptions) {
    this.#options = options;
    this.#least = RANKS[options.level ?? 'info'];
    this.#main = options.file ?? 'run';
    this.#files = openLogs(options);
    process.on('exit', this.#onExit);
  }

  log(level: LogLevel, category: LogCategory, message: string, fields: LogFields = {}): void {
    if (this.#closed || RANKS[level] < this.#least) return;
    if (this.#options.format === 'json') this.#jsonLogger(category)[level](withoutReserved(fields), message);
    else this.#keep(category, textLogLine(Date.now(), level, this.#nameOf(category), message, fields));
    if (RANKS[level] >= RANKS.warn) this.#flush();
    this.#options.console?.(level, this.#redact(message));
  }

  redact(secrets: readonly string[]): void {
    for (const secret of secrets) this.#secrets.add(secret);
    this.#redact = redactor([...this.#secrets]);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    process.off('exit', this.#onExit);
    this.#flush();
    for (const file of this.#files.values()) file.close();
  }

  #jsonLogger(category: LogCategory): pino.Logger {
    const known = this.#jsonLoggers.get(category);
    if (known !== undefined) return known;
    const { node } = this.#options;
    const logger = pino(
      {
        level: this.#options.level ?? 'info',
        base: { logger: loggerName(category), ...(node === undefined ? {} : { node }) },
        timestamp: () => `,"time":"${new Date().toISOString()}"`,
        formatters: { level: (level) => ({ level }) },
        serializers: { error: pino.stdSerializers.errWithCause, err: pino.stdSerializers.errWithCause },
      },
      { write: (line: string): void => this.#keep(category, line) },
    );
    this.#jsonLoggers.set(category, logger);
    return logger;
  }

  #keep(category: LogCategory, line: string): void {
    const safe = this.#redact(line);
    this.#pendingOf(this.#main).push(safe);
    if (category !== this.#main && this.#files.has(category)) this.#pendingOf(category).push(safe);
    if (this.#pendingOf(this.#main).length >= PENDING_MAX) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS).unref();
  }

  #nameOf(category: LogCategory): string {
    const { node } = this.#options;
    return node === undefined ? loggerName(category) : `${loggerName(category)} | ${node}`;
  }

  #pendingOf(name: string): string[] {
    const known = this.#pending.get(name);
    if (known !== undefined) return known;
    const lines: string[] = [];
    this.#pending.set(name, lines);
    return lines;
  }

  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    for (const [name, lines] of this.#pending) {
      this.#pending.delete(name);
      try {
        this.#files.get(name)?.write(lines);
      } catch (error) {
        this.#sayLost(name, error);
      }
    }
  }

  #sayLost(name: string, error: unknown): void {
    if (this.#lossSaid) return;
    this.#lossSaid = true;
    const { folder, console } = this.#options;
    const place = join(folder, `${name}.log`);
    console?.(
      'warn',
      `cannot write ${place}: ${messageOf(error)}. The run goes on without its log; free some space.`,
    );
  }
}

const loggerName = (category: LogCategory): string => `dlgforge.${category}`;

function openLogs(options: FileLoggerOptions): ReadonlyMap<string, RotatingFile> {
  const { folder, file, bytesMax = BYTES_MAX, keep = KEEP } = options;
  const names = file === undefined ? OWN_FILES : [file];
  try {
    return new Map(
      names.map((name) => [name, new RotatingFile(join(folder, `${name}.log`), bytesMax, keep)]),
    );
  } catch (error) {
    throw new DlgforgeError(
      'output',
      `cannot write the logs in ${folder}: ${messageOf(error)}. Give this user write access there, or free some space.`,
      { cause: error },
    );
  }
}

type LogFields = Readonly<Record<string, unknown>>;

/** Keys of a JSON line that are not the caller's. */
const RESERVED: ReadonlySet<string> = new Set(['level', 'time', 'logger', 'node', 'msg']);

function withoutReserved(fields: LogFields): LogFields {
  const entries = Object.entries(fields);
  if (!entries.some(([key]) => RESERVED.has(key))) return fields;
  return Object.fromEntries(entries.map(([key, value]) => [RESERVED.has(key) ? `${key}_` : key, value]));
}
