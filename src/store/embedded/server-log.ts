/** The server's log beside its folder: at most two files of a few megabytes. */
import { closeSync, openSync, readSync, renameSync, statSync } from 'node:fs';

const LOG_BYTES_MAX = 8 * 1024 * 1024;
const READ_BYTES = 16_384;

/** Where the next lines will stand. A long log is put aside first. */
export function beginLog(logFile: string): number {
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= LOG_BYTES_MAX) return size;
  renameSync(logFile, `${logFile}.1`);
  return 0;
}

/** What was written from `start` on; it only words an error, so a log that is gone is an empty one. */
export function readLog(logFile: string, start: number): string {
  if (statSync(logFile, { throwIfNoEntry: false }) === undefined) return '';
  const buffer = Buffer.alloc(READ_BYTES);
  const file = openSync(logFile, 'r');
  try {
    return buffer.toString('utf8', 0, readSync(file, buffer, 0, buffer.length, start));
  } finally {
    closeSync(file);
  }
}
