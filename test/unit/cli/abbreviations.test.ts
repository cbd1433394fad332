import { Command } from 'commander';
import { expect, test } from 'vitest';
import { wholeOptions } from '../../../src/cli/abbreviations.ts';

const program = new Command();
program.command('push').option('--repo-id <id>').option('--repo-type <type>').option('--no-push');
const cluster = program.command('cluster');
cluster.command('start').option('--head').option('--host <host>');

test.each([
  [
    ['push', 'c.yaml', '--repo-i', 'x'],
    ['push', 'c.yaml', '--repo-id', 'x'],
  ],
  [
    ['push', '--repo-t=dataset', 'c.yaml', '--no-p'],
    ['push', '--repo-type=dataset', 'c.yaml', '--no-push'],
  ],
  // More than one, none, and what is no option any more.
  [
    ['push', '--repo', 'x', '--nothing', '--', '--repo-i'],
    ['push', '--repo', 'x', '--nothing', '--', '--repo-i'],
  ],
  [
    ['cluster', 'start', '--ho', 'a', '--hea', '-v'],
    ['cluster', 'start', '--host', 'a', '--head', '-v'],
  ],
  // A whole name is itself, also when it begins others.
  [
    ['push', '--repo-id', '--repo-id'],
    ['push', '--repo-id', '--repo-id'],
  ],
  [
    ['push', '--hel'],
    ['push', '--help'],
  ],
])('%j', (given, whole) => {
  expect(wholeOptions(program, given)).toEqual(whole);
});
