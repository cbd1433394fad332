import { openProject } from '../../bootstrap/project.ts';
import { pushDataset, type PushReport } from '../../bootstrap/push/push.ts';
import { fromWorkingDir } from '../../config/paths.ts';
import { EXIT } from '../exit-codes.ts';
import { count } from '../format.ts';
import { type PushFlags, pushOverridesOf } from '../push-overrides.ts';
import { print, say } from '../terminal.ts';

interface Flags extends PushFlags {
  readonly sourceDir?: string;
  readonly token?: string;
  /** Commander's names for `--no-export` and `--no-push`. */
  readonly export: boolean;
  readonly push: boolean;
  readonly allowRehearsal: boolean;
  readonly quiet: boolean;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

export async function push(configPath: string, flags: Flags): Promise<number> {
  // What stands on a command line is seen by everybody on the machine; a name alone is not.
  if (flags.token !== undefined) process.title = 'dlgforge push';
  const project = openProject({
    configPath,
    overrides: pushOverridesOf(flags),
    logLevel: flags.verbose === true ? 'debug' : 'info',
    console: (level, message) => {
      if (
        level === 'warn' ||
        level === 'error' ||
        (level === 'info' && !flags.quiet) ||
        flags.verbose === true
      )
        say(message);
    },
  });
  const stop = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(EXIT.interrupted);
    stop.abort();
    say('Stopping. Ask again (Ctrl-C) to stop at once.');
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    const sourceDir = flags.sourceDir?.trim() ?? '';
    const report = await pushDataset(project, {
      sourceDir: sourceDir === '' ? null : fromWorkingDir(sourceDir, process.cwd()),
      build: flags.export,
      upload: flags.push,
      allowRehearsal: flags.allowRehearsal,
      token: flags.token ?? null,
      stop: stop.signal,
      onStatus: (text) => project.logger.log('info', 'export', `[hf-push] ${text}`),
    });
    print(flags.json === true ? JSON.stringify(jsonOf(report), null, 2) : summaryOf(report));
    return EXIT.done;
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
    project.logger.close();
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

const jsonOf = ({ built, uploaded, ...report }: PushReport): object => ({
  ...report,
  exported: built !== null,
  formats: built?.formats ?? null,
  splits: built?.splits ?? null,
  languages: built?.languages ?? null,
  leftOut: built?.leftOut ?? null,
  skippedLines: built?.skippedLines ?? null,
  pushed: uploaded !== null,
  repoId: uploaded?.repoId ?? null,
  url: uploaded?.url ?? null,
  commit: uploaded?.commit ?? null,
  files: uploaded?.files ?? built?.files.length ?? null,
  bytes: uploaded?.bytes ?? null,
  changed: uploaded?.changed ?? null,
  deleted: uploaded?.deleted ?? null,
});

function summaryOf({ exportDir, records, repoType, built, uploaded }: PushReport): string {
  const leftOut = Object.values(built?.leftOut ?? {}).reduce((sum, number) => sum + number, 0);
  const filtered = leftOut === 0 ? '' : ` (${count(leftOut)} left out by the filters)`;
  const what = `${count(records)} ${records === 1 ? 'conversation' : 'conversations'}${filtered}`;
  if (uploaded === null) return `${what} exported to ${exportDir}`;
  const { repoId, url, commit, files, changed, deleted } = uploaded;
  const made =
    commit === null
      ? 'the Hub held the same already'
      : `${count(changed)} of ${count(files)} files sent, ${count(deleted)} deleted, in one commit`;
  return `${what} of ${exportDir} are in the ${repoType} ${repoId} (${made}): ${url}`;
}
