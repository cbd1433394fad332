import { existsSync } from 'node:fs';
import { exportRunFrom } from '../../bootstrap/cluster/export-run.ts';
import type { StoreFlags } from '../../bootstrap/cluster/runs-store.ts';
import { exportFiles as exportProject, type ExportReport } from '../../bootstrap/export.ts';
import { openProject } from '../../bootstrap/project.ts';
import { processEnvironment } from '../../config/environment.ts';
import { fromWorkingDir } from '../../config/paths.ts';
import { EXIT } from '../exit-codes.ts';
import { count } from '../format.ts';
import { overridesOf } from '../overrides.ts';
import { print, say } from '../terminal.ts';

interface Flags extends StoreFlags {
  readonly run?: string;
  readonly outputDir?: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** A file that is there is a configuration; anything else without such an ending is the id of a run. */
const isRunId = (text: string): boolean => !existsSync(text) && !/\.ya?ml$/i.test(text);

export async function exportFiles(what: string, flags: Flags): Promise<number> {
  return isRunId(what) ? await exportOneRun(what, flags) : await exportDataset(what, flags);
}

async function exportOneRun(id: string, flags: Flags): Promise<number> {
  const folder = fromWorkingDir(flags.outputDir ?? id, process.cwd());
  tell(await exportRunFrom(flags, processEnvironment(), id, folder), flags);
  return EXIT.done;
}

async function exportDataset(configPath: string, flags: Flags): Promise<number> {
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
    tell(report, flags);
    return EXIT.done;
  } finally {
    project.logger.close();
  }
}

function tell(report: ExportReport, { json }: Flags): void {
  if (json === true) print(JSON.stringify(report, null, 2));
  else
    say(
      `${count(report.conversations)} conversations of ${runsText(report.runs)} are in ${report.outputDir}`,
    );
}

const runsText = (runs: readonly string[]): string =>
  runs.length === 1 ? `the run ${runs[0]}` : `${runs.length} runs`;
