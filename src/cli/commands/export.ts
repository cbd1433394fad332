import { existsSync } from 'node:fs';
import { exportRunFrom } from '../../bootstrap/cluster/export-run.ts';
import type { StoreFlags } from '../../bootstrap/cluster/runs-store.ts';
import { exportFiles as exportProject, type ExportReport, hasDataset } from '../../bootstrap/export.ts';
import { openProject, type Project } from '../../bootstrap/project.ts';
import { writeFormats } from '../../bootstrap/push/formats.ts';
import { processEnvironment } from '../../config/environment.ts';
import { fromWorkingDir } from '../../config/paths.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { EXIT } from '../exit-codes.ts';
import { type ExportFlags, exportOverridesOf } from '../export-overrides.ts';
import { count } from '../format.ts';
import { overridesOf } from '../overrides.ts';
import { print, say } from '../terminal.ts';

interface Flags extends StoreFlags, ExportFlags {
  readonly run?: string;
  readonly outputDir?: string;
  readonly set?: readonly string[];
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** A file that is there is a configuration; anything else without such an ending is the id of a run. */
const isRunId = (text: string): boolean => !existsSync(text) && !/\.ya?ml$/i.test(text);

export async function exportFiles(what: string, flags: Flags): Promise<number> {
  if (!isRunId(what)) return await exportDataset(what, flags);
  if (flags.format !== undefined) {
    throw new DlgforgeError(
      'usage',
      '--format needs a configuration: name its file instead of the run. For one run alone add --run <run-id> --output-dir <folder>.',
    );
  }
  return await exportOneRun(what, flags);
}

async function exportOneRun(id: string, flags: Flags): Promise<number> {
  const folder = fromWorkingDir(flags.outputDir ?? id, process.cwd());
  tell(await exportRunFrom(flags, processEnvironment(), id, folder), flags);
  return EXIT.done;
}

async function exportDataset(configPath: string, flags: Flags): Promise<number> {
  const withFormats = flags.format !== undefined;
  // With a run, the folder is for that run alone; with formats it is for those; else it names the dataset, as for `run`.
  const ofDataset = flags.run === undefined && !withFormats && flags.outputDir !== undefined;
  const { set } = flags;
  const project = openProject({
    configPath,
    overrides: {
      ...overridesOf({
        ...(ofDataset ? { outputDir: flags.outputDir } : {}),
        ...(set === undefined ? {} : { set }),
      }),
      ...exportOverridesOf(flags),
    },
    console: (level, message) => {
      if (level === 'warn' || level === 'error' || flags.verbose === true) say(message);
    },
  });
  try {
    if (withFormats) await exportInFormats(project, configPath, flags);
    else tell(await exportFilesOf(project, configPath, flags), flags);
    return EXIT.done;
  } finally {
    project.logger.close();
  }
}

const exportFilesOf = (project: Project, configPath: string, flags: Flags): Promise<ExportReport> =>
  exportProject(project, {
    runId: flags.run ?? null,
    runOutputDir:
      flags.run === undefined || flags.outputDir === undefined
        ? null
        : fromWorkingDir(flags.outputDir, process.cwd()),
    command: `dlgforge export ${configPath}`,
  });

/** The files first, where they come from the store; a folder of 0.1.0 is taken as it is. */
async function exportInFormats(project: Project, configPath: string, flags: Flags): Promise<void> {
  const ofRun = flags.run !== undefined;
  const isOurs = await hasDataset(project);
  const report = ofRun || isOurs ? await exportFilesOf(project, configPath, flags) : null;
  const sourceDir = report?.outputDir ?? project.folders.output;
  const { outputDir } = flags;
  const built = await writeFormats(project, {
    sourceDir,
    ...(ofRun || outputDir === undefined ? {} : { folder: fromWorkingDir(outputDir, process.cwd()) }),
  });
  if (flags.json === true) print(JSON.stringify({ ...report, exports: built }, null, 2));
  else {
    if (report !== null) tell(report, flags);
    say(`${count(built.records)} conversations are in ${built.folder} as ${built.formats.join(', ')}`);
  }
}

function tell(report: ExportReport, { json }: Flags): void {
  const { runs, conversations, outputDir } = report;
  if (json === true) print(JSON.stringify(report, null, 2));
  else if (runs.length === 0) say(`the files of 0.1.0 in ${outputDir} show the verdicts of the store`);
  else say(`${count(conversations)} conversations of ${runsText(runs)} are in ${outputDir}`);
}

const runsText = (runs: readonly string[]): string =>
  runs.length === 1 ? `the run ${runs[0]}` : `${runs.length} runs`;
