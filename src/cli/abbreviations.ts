/** Long options may be shortened as long as it is clear which one is meant, as operators of 0.1.0 are used to. */
import type { Command } from 'commander';

/** The same arguments with whole names; what is ambiguous or unknown stays, and is refused by name. */
export function wholeOptions(program: Command, args: readonly string[]): string[] {
  let command = program;
  let isOver = false;
  return args.map((arg) => {
    isOver ||= arg === '--';
    if (isOver) return arg;
    if (!arg.startsWith('-')) {
      command = command.commands.find((each) => each.name() === arg) ?? command;
      return arg;
    }
    if (!arg.startsWith('--')) return arg;
    const end = arg.includes('=') ? arg.indexOf('=') : arg.length;
    return `${wholeName(command, arg.slice(0, end))}${arg.slice(end)}`;
  });
}

function wholeName(command: Command, name: string): string {
  const names = [...command.options.flatMap(({ long }) => long ?? []), '--help'];
  if (names.includes(name)) return name;
  const meant = names.filter((each) => each.startsWith(name));
  return meant.length === 1 ? (meant[0] ?? name) : name;
}
