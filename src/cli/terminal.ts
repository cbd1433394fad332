/** What goes to the person: progress and messages on stderr, results on stdout. */
import { InvariantError, messageOf } from '../kernel/errors.ts';
import { EXIT } from './exit-codes.ts';

export const print = (text: string): void => {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
};

export const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

/** `dlgforge <command> failed: …`, with the chain of causes when asked for. */
export function sayFailure(command: string, error: unknown, verbose: boolean): void {
  const message = error instanceof Error ? error.message : String(error);
  say(`dlgforge ${command} failed: ${message}`);
  if (error instanceof InvariantError)
    say('This is a mistake in dlgforge. Run again with --verbose and report what it prints.');
  if (!verbose) return;
  for (
    let cause: unknown = error, depth = 0;
    cause !== undefined && cause !== null && depth < 10;
    depth += 1
  ) {
    say(cause instanceof Error ? (cause.stack ?? cause.message) : messageOf(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
}

/** A reader that goes away early (`| head`) is no failure. What cannot be written for other reasons is one, at the end. */
export function watchStreams(): void {
  const lost = new Set<NodeJS.WriteStream>();
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || lost.has(stream)) return;
      lost.add(stream);
      if (stream === process.stdout) say(`dlgforge: the standard output cannot be written: ${error.message}`);
    });
  }
  process.on('exit', (code) => {
    if (code === EXIT.done && lost.has(process.stdout)) process.exitCode = EXIT.failed;
  });
}

/** How results are laid out: wrapped and coloured for a terminal, plain for any other reader. */
export function lineStyle(): { readonly width: number | null; readonly colour: boolean } {
  const { isTTY, columns } = process.stdout;
  if (!isTTY) return { width: null, colour: false };
  return { width: columns > 0 ? columns : 80, colour: process.stdout.hasColors() };
}
