import { judgeProject } from '../../bootstrap/judge/judge.ts';
import { openProject } from '../../bootstrap/project.ts';
import type { Overrides } from '../../config/load.ts';
import type { LogLevel } from '../../kernel/logger.ts';
import { exitCodeOfEnd } from '../exit-codes.ts';
import { renderJudgeSummary } from '../judge-summary.ts';
import { overridesOf, type RunFlags } from '../overrides.ts';
import { openProgress, type Progress } from '../progress.ts';
import { stopOnSignals } from '../stop-signals.ts';
import { print, say } from '../terminal.ts';

interface Flags extends Pick<RunFlags, 'outputDir' | 'set'> {
  readonly granularity?: string;
  readonly rejudge: boolean;
  readonly batch: boolean;
  readonly model?: string;
  readonly limit?: number;
  readonly language: readonly string[];
  readonly quiet: boolean;
  readonly json?: boolean;
  readonly logFormat: 'text' | 'json';
  readonly verbose?: boolean;
}

const STOPPING = {
  first: 'Stopping: calls in flight may finish. Ask again (Ctrl-C) to stop at once.',
  second: 'Stopped at once. Every verdict that was given is kept; run the same command again to go on.',
};

export async function judge(configPath: string, flags: Flags): Promise<number> {
  const progress = openProgress(process.stderr, flags.quiet, 'judge');
  const project = openProject({
    configPath,
    overrides: judgeOverrides(flags),
    logFormat: flags.logFormat,
    logLevel: flags.verbose === true ? 'debug' : 'info',
    console: (level, message) => showLog(progress, level, message, flags),
  });
  const stop = stopOnSignals(progress, STOPPING);
  try {
    const report = await judgeProject(project, {
      rejudge: flags.rejudge,
      batch: flags.batch,
      limit: flags.limit ?? null,
      languages: flags.language.flatMap((list) => list.split(',')).filter((name) => name.trim() !== ''),
      model: flags.model ?? null,
      command: `dlgforge judge ${configPath}`,
      observer: progress,
      stop: stop.signal,
    });
    progress.close();
    if (flags.json === true) print(JSON.stringify(report, null, 2));
    else say(renderJudgeSummary(report, process.cwd()));
    return exitCodeOfEnd(report.status);
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    project.logger.log('error', 'judge', `${FAILED} ${text}`);
    throw error;
  } finally {
    progress.close();
    stop.dispose();
    project.logger.close();
  }
}

function judgeOverrides(flags: Flags): Overrides {
  const given = [
    ['judge.granularity', flags.granularity, '--granularity'],
    ['llm.agents.judge.model', flags.model, '--model'],
  ] as const;
  return {
    ...overridesOf(flags),
    ...Object.fromEntries(
      given.filter(([, value]) => value !== undefined).map(([key, value, flag]) => [key, { value, flag }]),
    ),
  };
}

const FAILED = '[judge] failed:';

function showLog(progress: Progress, level: LogLevel, message: string, flags: Flags): void {
  // The failure itself is the last line on the terminal; its stack is for the log.
  if (message.startsWith(FAILED)) return;
  if (level === 'warn' || level === 'error' || flags.verbose === true) progress.message(message);
}
