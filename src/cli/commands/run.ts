import { openProject } from '../../bootstrap/project.ts';
import { runProject } from '../../bootstrap/run.ts';
import { pushesAfterRun } from '../../config/publishing.ts';
import type { LogLevel } from '../../kernel/logger.ts';
import { EXIT, exitCodeOfEnd } from '../exit-codes.ts';
import { overridesOf, type RunFlags } from '../overrides.ts';
import { openProgress, type Progress } from '../progress.ts';
import { pushCommandOf } from '../push-overrides.ts';
import { stopOnSignals } from '../stop-signals.ts';
import { renderSummary } from '../summary.ts';
import { print, say } from '../terminal.ts';

interface Flags extends RunFlags {
  readonly allowConfigChange: boolean;
  readonly detach?: boolean;
  readonly metricsPort?: number;
  readonly quiet: boolean;
  readonly json?: boolean;
  readonly logFormat: 'text' | 'json';
  readonly verbose?: boolean;
}

/** Info lines that are news for a person who watches without bars. */
const NEWS = /^\[(?:language|ledger|retrieval|import|export|run)\]/;

export async function run(configPath: string, flags: Flags): Promise<number> {
  const progress = openProgress(process.stderr, flags.quiet);
  const project = openProject({
    configPath,
    overrides: overridesOf(flags),
    logFormat: flags.logFormat,
    logLevel: flags.verbose === true ? 'debug' : 'info',
    console: (level, message) => showLog(progress, level, message, flags),
  });
  const stop = stopOnSignals(progress, project.config.run.distributed.enabled ? ON_A_CLUSTER : HERE);
  try {
    const report = await runProject(project, {
      allowConfigChange: flags.allowConfigChange,
      detach: flags.detach === true,
      ...(flags.metricsPort === undefined ? {} : { metricsPort: flags.metricsPort }),
      command: `dlgforge run ${configPath}`,
      pushCommand: pushCommandOf(configPath, flags),
      observer: progress,
      stop: stop.signal,
    });
    progress.close();
    if (report.status === 'detached') {
      if (flags.json === true) print(JSON.stringify(report, null, 2));
      else print(report.runId);
      say(`The run goes on without this terminal. Follow it: dlgforge attach ${report.runId}`);
      if (pushesAfterRun(project.config))
        say(
          `It publishes nothing at its end, because nobody writes its files here. When it has ended: npx dlgforge export ${configPath}, and ${pushCommandOf(configPath, flags)}`,
        );
      return EXIT.done;
    }
    if (flags.json === true) print(JSON.stringify(report, null, 2));
    else say(renderSummary(report, configPath, process.cwd()));
    const isUndone = [report.publication?.type, report.exports?.type].includes('failed');
    return isUndone ? EXIT.unpublished : exitCodeOfEnd(report.status);
  } catch (error) {
    // With the whole story, which the one line on the terminal leaves out (A16).
    project.logger.log(
      'error',
      'run',
      `[run] failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    throw error;
  } finally {
    progress.close();
    stop.dispose();
    project.logger.close();
  }
}

function showLog(progress: Progress, level: LogLevel, message: string, flags: Flags): void {
  // The failure itself is the last line on the terminal; its stack is for the log.
  if (message.startsWith('[run] failed:')) return;
  const isNews = level === 'info' && !flags.quiet && NEWS.test(message);
  if (level === 'warn' || level === 'error' || isNews || flags.verbose === true) progress.message(message);
}

const HERE = {
  first: 'Stopping: calls in flight may finish. Ask again (Ctrl-C) to stop at once.',
  second: 'Stopped at once. Everything that was answered is kept; run the same command again to go on.',
};
const ON_A_CLUSTER = {
  first:
    'Stopping the run on the cluster: calls in flight may finish. Ask again (Ctrl-C) to leave it alone with that.',
  second: 'Left. The run stops as soon as its calls in flight are kept; `dlgforge runs list` shows it.',
};
