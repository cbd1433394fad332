/** Lines of a text log, as Python's logging lays them out: `asctime | LEVEL | logger | message`. */
import { inspect } from 'node:util';
import type { LogLevel } from './logger.ts';

/** Python's names of the levels. */
const LEVEL_NAMES: Readonly<Record<LogLevel, string>> = {
  debug: 'DEBUG',
  info: 'INFO',
  warn: 'WARNING',
  error: 'ERROR',
};

export function textLogLine(
  nowMs: number,
  level: LogLevel,
  logger: string,
  message: string,
  fields: Readonly<Record<string, unknown>>,
): string {
  return `${asctime(nowMs)} | ${LEVEL_NAMES[level]} | ${logger} | ${body(message, fields)}\n`;
}

/** Fields stay out of text lines, but the stack of an error is the one thing that nobody can do without. */
function body(message: string, fields: Readonly<Record<string, unknown>>): string {
  // One record, one line; what follows a record is indented.
  let text = message.includes('\n') ? message.replaceAll(/\r?\n/g, '\\n') : message;
  for (const value of Object.values(fields)) {
    if (value instanceof Error) text += `\n${inspect(value).replaceAll(/^/gm, '    ')}`;
  }
  return text;
}

/** The second of the latest line, in words: the lines of a second share them. */
let latest = { second: Number.NaN, text: '' };

/** Local time, a comma before the milliseconds. */
function asctime(nowMs: number): string {
  const second = Math.floor(nowMs / 1000);
  if (latest.second !== second) latest = { second, text: secondText(new Date(nowMs)) };
  return `${latest.text},${String(nowMs % 1000).padStart(3, '0')}`;
}

function secondText(at: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
