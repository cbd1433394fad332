/** Options of the command line as overrides of the configuration. */
import { parse } from 'yaml';
import type { Overrides } from '../config/load.ts';
import { KEYS, nearest } from '../config/keys.ts';
import { fromWorkingDir } from '../config/paths.ts';
import { DlgforgeError } from '../kernel/errors.ts';

export interface RunFlags {
  readonly resume?: string;
  readonly runId?: string;
  readonly batchSize?: number;
  readonly totalSamples?: number;
  readonly languages?: string;
  readonly outputDir?: string;
  readonly set?: readonly string[];
}

export function overridesOf(flags: RunFlags): Overrides {
  const outputDir =
    flags.outputDir === undefined ? undefined : fromWorkingDir(flags.outputDir, process.cwd());
  const given: readonly (readonly [string, unknown, string])[] = [
    ['run.resume_run_id', flags.resume, '--resume'],
    ['run.run_id', flags.runId, '--run-id'],
    ['run.batch_size', flags.batchSize, '--batch-size'],
    ['run.total_samples', flags.totalSamples, '--total-samples'],
    ['run.target_languages', flags.languages, '--languages'],
    ['saving.output_dir', outputDir, '--output-dir'],
    ...(flags.set ?? []).map(assignment),
  ];
  return Object.fromEntries(
    given.filter(([, value]) => value !== undefined).map(([key, value, flag]) => [key, { value, flag }]),
  );
}

/** `key=value`; the value is read as YAML, so that lists and numbers can be given. */
function assignment(text: string): readonly [string, unknown, string] {
  const at = text.indexOf('=');
  const key = at < 0 ? text : text.slice(0, at).trim();
  if (at < 0)
    throw new DlgforgeError(
      'usage',
      `--set ${text}: write it as --set key=value, for example --set run.batch_size=8.`,
    );
  if (!KEYS.has(key)) {
    const near = nearest(key, [...KEYS.keys()]);
    throw new DlgforgeError(
      'usage',
      `--set ${text}: there is no key ${key}.${near === null ? '' : ` Did you mean ${near}?`}`,
    );
  }
  return [key, parse(text.slice(at + 1)) as unknown, `--set ${key}`];
}
