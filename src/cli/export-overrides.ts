/** Options that say what an export holds, as overrides of the configuration. `export` and `push` have them. */
import { type Command, InvalidArgumentError } from 'commander';
import type { Overrides } from '../config/load.ts';
import { EXPORT_FORMATS } from '../config/schema/export-formats.ts';
import { count, number, positive } from './command.ts';

export interface ExportFlags {
  readonly format?: string;
  readonly languages?: string;
  readonly minScore?: number;
  readonly keepUnjudged?: boolean;
  readonly minTurns?: number;
  readonly maxTurns?: number;
  readonly validation?: number;
  readonly test?: number;
  readonly seed?: number;
}

const KEYS: Readonly<Record<keyof ExportFlags, readonly [string, string]>> = {
  format: ['saving.export.formats', '--format'],
  languages: ['saving.export.languages', '--languages'],
  minScore: ['saving.export.min_score', '--min-score'],
  keepUnjudged: ['saving.export.keep_unjudged', '--keep-unjudged'],
  minTurns: ['saving.export.min_turns', '--min-turns'],
  maxTurns: ['saving.export.max_turns', '--max-turns'],
  validation: ['saving.export.splits.validation', '--validation'],
  test: ['saving.export.splits.test', '--test'],
  seed: ['saving.export.seed', '--seed'],
};

/** @throws InvalidArgumentError */
function formats(list: string): string {
  const names = list.split(',').map((name) => name.trim());
  const known: readonly string[] = EXPORT_FORMATS;
  const wrong = names.find((name) => name !== '' && !known.includes(name.toLowerCase()));
  if (wrong === undefined) return list;
  throw new InvalidArgumentError(`"${wrong}" is none of ${EXPORT_FORMATS.join(', ')}.`);
}

/** An empty text counts as not given. */
export function exportOverridesOf(flags: ExportFlags): Overrides {
  const given = Object.entries(KEYS).flatMap(([name, [key, flag]]) => {
    const value = flags[name as keyof ExportFlags];
    const isGiven = value !== undefined && (typeof value !== 'string' || value.trim() !== '');
    return isGiven ? [[key, { value, flag }] as const] : [];
  });
  return Object.fromEntries(given);
}

export function addExportOptions(command: Command): Command {
  return command
    .option('--format <list>', 'comma-separated formats (saving.export.formats)', formats)
    .option('--languages <list>', 'only these languages, comma-separated (saving.export.languages)')
    .option('--min-score <score>', 'only with this score or better (saving.export.min_score)', number)
    .option('--keep-unjudged', 'with --min-score: also without any score (saving.export.keep_unjudged)')
    .option('--min-turns <n>', 'only with so many turns or more (saving.export.min_turns)', positive)
    .option('--max-turns <n>', 'only with so many turns or fewer (saving.export.max_turns)', positive)
    .option('--validation <share>', 'size of the split validation (saving.export.splits.validation)', number)
    .option('--test <share>', 'size of the split test (saving.export.splits.test)', number)
    .option('--seed <n>', 'decides what goes into which split (saving.export.seed)', count);
}
