/** What every command of the command line is made of. */
import { InvalidArgumentError, Option } from 'commander';
import { exitCodeOf } from './exit-codes.ts';
import { sayFailure } from './terminal.ts';

export const positive = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value <= 0)
    throw new InvalidArgumentError('must be a whole number above 0.');
  return value;
};
export const above0 = (text: string): number => {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('must be a number above 0.');
  return value;
};
export const count = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < 0)
    throw new InvalidArgumentError('must be a whole number, 0 or more.');
  return value;
};
export const port = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65_535)
    throw new InvalidArgumentError('must be a port, 0 to 65535.');
  return value;
};
export const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('must be a number.');
  return value;
};
export const collect = (value: string, earlier: readonly string[]): string[] => [...earlier, value];

export type Action<A extends unknown[]> = (...args: A) => Promise<number>;

/** Runs a command; whatever it throws becomes one line and an exit code. */
export function command<A extends unknown[]>(
  name: string,
  load: () => Promise<Action<A>>,
): (...args: A) => Promise<void> {
  return async (...args) => {
    try {
      process.exitCode = await (await load())(...args);
    } catch (error) {
      const verboseWanted = process.argv.includes('--verbose');
      sayFailure(name, error, verboseWanted);
      process.exitCode = exitCodeOf(error);
    }
  };
}

export const verbose = (): Option =>
  new Option('--verbose', 'show debug messages, and the chain of causes of a failure');
export const json = (what: string): Option => new Option('--json', what);
export const logFormat = (): Option =>
  new Option('--log-format <format>', 'form of the log files').choices(['text', 'json']).default('text');
