import { exportFiles as exportProject } from '../../bootstrap/export.ts';
import { openProject } from '../../bootstrap/project.ts';
import { fromWorkingDir } from '../../config/paths.ts';
import { EXIT } from '../exit-codes.ts';
import { count } from '../format.ts';
import { overridesOf } from '../overrides.ts';
import { print, say } from '../terminal.ts';

interface Flags {
  readonly run?: string;
  readonly outputDir?: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

export async function exportFiles(configPath: string, flags: Flags): Promise<number> {
  // With a run, the folder is for that run alone; without one it names the dataset, as for `run`.
  const ofDataset = flags.run === undefined && flags.outputDir !== undefined;
  const project = openProject({
    configPath,
    overrides: overridesOf(ofDataset ? { outputDir: flags.outputDir } : {}),
    console: (level, message) => {
      if (level === 'warn' || level === 'error' || flags.verbose === true) say(message);
    },
  });
  try {
    const report = await exportProject(project, {
      runId: flags.run ?? null,
      runOutputDir:
        flags.run === undefined || flags.outputDir === undefined
          ? null
          : fromWorkingDir(flags.outputDir, process.cwd()),
      command: `dlgforge export ${configPath}`,
    });
    if (flags.json === true) print(JSON.stringify(report, null, 2));
    else
      say(
        `${count(report.conversations)} conversations of ${runsText(report.runs)} are in ${report.outputDir}`,
      );
    return EXIT.done;
  } finally {
    project.logger.close();
  }
}

const runsText = (runs: readonly string[]): string =>
  runs.length === 1 ? `the run ${runs[0]}` : `${runs.length} runs`;
