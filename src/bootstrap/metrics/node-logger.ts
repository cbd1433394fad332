/** The log of a node's process: one file, the node named in every line. */
import { type FileLogger, openFileLogger } from '../../kernel/file-logger.ts';
import type { LogLevel } from '../../kernel/logger.ts';

export interface NodeLoggerOptions {
  /** The `logs` folder of the node; its workers write to the same one. */
  readonly folder: string;
  /** Name on the transport: `<host>-<hex>`, or `<parent>.w<n>-<hex>` for a worker. */
  readonly node: string;
  /** @default text */
  readonly format?: 'text' | 'json';
  /** @default info */
  readonly level?: LogLevel;
  /** A file that would get longer is renamed to `<name>.1`. @default 20 MiB */
  readonly bytesMax?: number;
  /** Full files that are kept. @default 5 */
  readonly keep?: number;
  /** May never appear; `redact` of the logger adds to them (I8). */
  readonly secrets?: readonly string[];
  /** Gets every message that is logged, for the terminal. */
  readonly console?: (level: LogLevel, message: string) => void;
}

/**
 * `node.log`, or `worker-<n>.log` for a node's n-th worker process. The name of a file stays when the
 * process is replaced, and the lines tell the processes apart.
 */
export function openNodeLogger({ secrets = [], ...options }: NodeLoggerOptions): FileLogger {
  const logger = openFileLogger({ ...options, file: logFileOf(options.node) });
  logger.redact(secrets);
  return logger;
}

/** Without its ending. */
export function logFileOf(node: string): string {
  const worker = /\.w(\d+)-[^.]*$/.exec(node);
  return worker === null ? 'node' : `worker-${worker[1]}`;
}
