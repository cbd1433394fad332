/**
 * The five log files of a project (CONTRACT section 6.12). Owns their handles. pino filters, serialises
 * and stamps; this file lays the lines out and puts them where they belong: `run.log` has everything,
 * four categories have a file each as well.
 *
 * Lines are written synchronously: a crash loses none, and at a few microseconds a line a run's few lines
 * per call cost less than what a worker thread or an asynchronous buffer would lose with the process.
 *
 * A logger never takes the run down: when a line cannot be written (disk full), that is said once on the
 * console, and the next lines are tried again.
 */
import { join } from 'node:path';
import { inspect } from 'node:util';
import pino from 'pino';
import { DlgforgeError, messageOf } from './errors.ts';
import type { LogCategory, Logger, LogLevel } from './logger.ts';
import { redactor } from './redact.ts';
import { RotatingFile } from './rotating-file.ts';

export interface FileLoggerOptions {
  /** `<project>/logs`; made when it is not there. */
  readonly folder: string;
  /** @default text */
  readonly format?: 'text' | 'json';
  /** @default info */
  readonly level?: LogLevel;
  /** A file that would get longer is renamed to `<name>.1`. @default 20 MiB */
  readonly bytesMax?: number;
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

const CATEGORIES: readonly LogCategory[] = [
  'run',
  'retrieval',
  'tools',
  'llm',
  'judge',
  'store',
  'actors',
  'export',
  'config',
];
const OWN_FILES = ['run', 'retrieval', 'tools', 'llm', 'judge'] as const;
const BYTES_MAX = 20 * 1024 * 1024;
const KEEP = 5;

export function openFileLogger(options: FileLoggerOptions): FileLogger {
  return new PinoFileLogger(options);
}

class PinoFileLogger implements FileLogger {
  readonly #options: FileLoggerOptions;
  readonly #files: ReadonlyMap<string, RotatingFile>;
  readonly #loggers: ReadonlyMap<LogCategory, pino.Logger>;
  readonly #secrets = new Set<string>();
  #redact: (text: string) => string = (text) => text;
  #closed = false;
  #lossSaid = false;

  constructor(options: FileLoggerOptions) {
    this.#options = options;
    this.#files = openLogs(options);
    this.#loggers = new Map(CATEGORIES.map((category) => [category, this.#pinoFor(category)]));
  }

  log(level: LogLevel, category: LogCategory, message: string, fields: LogFields = {}): void {
    const logger = this.#loggers.get(category);
    if (this.#closed || logger === undefined || !logger.isLevelEnabled(level)) return;
    if (this.#options.format === 'json') logger[level](withoutReserved(fields), message);
    else logger[level](textBody(message, fields));
    this.#options.console?.(level, this.#redact(message));
  }

  redact(secrets: readonly string[]): void {
    for (const secret of secrets) this.#secrets.add(secret);
    this.#redact = redactor([...this.#secrets]);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const file of this.#files.values()) file.close();
  }

  #pinoFor(category: LogCategory): pino.Logger {
    const name = `dlgforge.${category}`;
    const text = this.#options.format !== 'json';
    // pino leaves level and message of the line on a destination that asks for its metadata.
    const destination = {
      [pino.symbols.needsMetadataGsym]: true,
      lastLevel: 0,
      lastMsg: '',
      write: (line: string): void => {
        const { lastLevel, lastMsg } = destination;
        this.#write(category, text ? textLine(new Date(), lastLevel, name, lastMsg) : line);
      },
    };
    return pino(
      {
        level: this.#options.level ?? 'info',
        base: { logger: name },
        timestamp: () => `,"time":"${new Date().toISOString()}"`,
        formatters: { level: (level) => ({ level }) },
        serializers: { error: pino.stdSerializers.errWithCause, err: pino.stdSerializers.errWithCause },
      },
      destination,
    );
  }

  #write(category: LogCategory, line: string): void {
    const safe = this.#redact(line);
    for (const name of category === 'run' ? ['run'] : ['run', category]) {
      const file = this.#files.get(name);
      try {
        file?.write(safe);
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

function openLogs(options: FileLoggerOptions): ReadonlyMap<string, RotatingFile> {
  const { folder, bytesMax = BYTES_MAX, keep = KEEP } = options;
  try {
    return new Map(
      OWN_FILES.map((name) => [name, new RotatingFile(join(folder, `${name}.log`), bytesMax, keep)]),
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
const RESERVED: ReadonlySet<string> = new Set(['level', 'time', 'logger', 'msg']);

function withoutReserved(fields: LogFields): LogFields {
  const entries = Object.entries(fields);
  if (!entries.some(([key]) => RESERVED.has(key))) return fields;
  return Object.fromEntries(entries.map(([key, value]) => [RESERVED.has(key) ? `${key}_` : key, value]));
}

/** Fields stay out of text lines, but the stack of an error is the one thing that nobody can do without. */
function textBody(message: string, fields: LogFields): string {
  const stacks = Object.values(fields).filter((value) => value instanceof Error);
  // One record, one line; what follows a record is indented.
  const line = message.replaceAll(/\r?\n/g, '\\n');
  return [line, ...stacks.map((error) => inspect(error).replaceAll(/^/gm, '    '))].join('\n');
}

/** Python's names of pino's levels. */
const LEVEL_NAMES: Readonly<Record<number, string>> = { 20: 'DEBUG', 30: 'INFO', 40: 'WARNING', 50: 'ERROR' };

/** `asctime | LEVEL | logger | message`, the time as Python's logging writes it: local, comma before the milliseconds. */
function textLine(now: Date, level: number, logger: string, body: string): string {
  return `${asctime(now)} | ${LEVEL_NAMES[level] ?? 'INFO'} | ${logger} | ${body}\n`;
}

function asctime(now: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const date = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  return `${date} ${time},${String(now.getMilliseconds()).padStart(3, '0')}`;
}
