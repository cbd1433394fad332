/** Options of `push` as overrides of the configuration. An empty text counts as not given, as in 0.1.0. */
import type { Overrides } from '../config/load.ts';
import { fromWorkingDir } from '../config/paths.ts';
import { type ExportFlags, exportOverridesOf } from './export-overrides.ts';
import { overridesOf } from './overrides.ts';

export interface PushFlags extends ExportFlags {
  readonly repoId?: string;
  readonly repoType?: string;
  readonly exportDir?: string;
  readonly includeRunState: boolean;
  readonly commitMessage?: string;
  readonly cleanRemote: boolean;
  readonly license?: string;
  readonly outputDir?: string;
  readonly set: readonly string[];
}

export function pushOverridesOf(flags: PushFlags): Overrides {
  const exportDir = given(flags.exportDir);
  const options: readonly (readonly [string, unknown, string])[] = [
    ['saving.hf_push.repo_id', given(flags.repoId), '--repo-id'],
    ['saving.hf_push.repo_type', given(flags.repoType), '--repo-type'],
    [
      'saving.hf_push.export_dir',
      exportDir === undefined ? undefined : fromWorkingDir(exportDir, process.cwd()),
      '--export-dir',
    ],
    // Flags add to the configuration; they cannot switch off what it wants.
    ['saving.hf_push.include_run_state', flags.includeRunState || undefined, '--include-run-state'],
    ['saving.hf_push.clean_remote', flags.cleanRemote || undefined, '--clean-remote'],
    ['saving.hf_push.commit_message', given(flags.commitMessage), '--commit-message'],
    ['saving.hf_push.license', given(flags.license), '--license'],
  ];
  const { outputDir, set } = flags;
  return {
    ...overridesOf({ set, ...(outputDir === undefined ? {} : { outputDir }) }),
    ...exportOverridesOf(flags),
    ...Object.fromEntries(
      options.filter(([, value]) => value !== undefined).map(([key, value, flag]) => [key, { value, flag }]),
    ),
  };
}

/**
 * What publishes the dataset of such a run by hand. Keys that do not matter for it are left out, and with them
 * everything that may be secret.
 */
export function pushCommandOf(
  configPath: string,
  run: Pick<PushFlags, 'outputDir'> & { set?: readonly string[] },
): string {
  const settings = (run.set ?? []).filter((assignment) => assignment.trim().startsWith('saving.'));
  const options = [
    ...(run.outputDir === undefined ? [] : ['--output-dir', run.outputDir]),
    ...settings.flatMap((assignment) => ['--set', assignment]),
  ];
  return ['npx dlgforge push', ...[configPath, ...options].map(quoted)].join(' ');
}

/** As a shell takes it for one word. */
const quoted = (word: string): string =>
  /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;

const given = (text: string | undefined): string | undefined => (text?.trim() === '' ? undefined : text);
