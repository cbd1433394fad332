/**
 * `dlgforge push`: what can be wrong is found first, then the export is built beside the old one and swapped
 * in, then it goes to the Hub in one commit. Each step is whole or not there, so the same command goes on
 * after any end.
 */
import { stat } from 'node:fs/promises';
import { hubToken } from '../../config/credentials.ts';
import { hubUrl, type Lack, NO_TOKEN, repoIdLack } from '../../config/publishing.ts';
import { secretsOf } from '../../config/secrets-of.ts';
import type { HubAccess, Uploaded } from '../../export/hub/upload-folder.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Project } from '../project.ts';
import {
  type BuiltExport,
  buildExport,
  checkExport,
  EXPORT_MARKER_FILE,
  isRehearsal,
  readExportMarker,
} from './build-export.ts';
import { type PushSettings, pushSettings } from './push-settings.ts';

export interface PushOptions {
  /** Absolute; null for the folder of the dataset. */
  readonly sourceDir: string | null;
  /** Build the export, or take the folder as it is. */
  readonly build: boolean;
  readonly upload: boolean;
  readonly allowRehearsal: boolean;
  /** Instead of the one of the environment. */
  readonly token: string | null;
  readonly stop: AbortSignal;
  readonly onStatus: (text: string) => void;
}

export interface PushReport {
  readonly exportDir: string;
  /** In the export. */
  readonly records: number;
  readonly repoType: PushSettings['repoType'];
  /** Null with `--no-export`. */
  readonly built: Omit<BuiltExport, 'stats'> | null;
  /** Null with `--no-push`. */
  readonly uploaded: Uploaded | null;
}

/** @throws DlgforgeError `usage`, `config`, `credentials`, `output`, `hub`, `cancelled`: each says what to do. */
export async function pushDataset(project: Project, options: PushOptions): Promise<PushReport> {
  const { build, upload } = options;
  if (!build && !upload) {
    throw new DlgforgeError(
      'usage',
      '--no-export and --no-push together leave nothing to do. Leave one of them out.',
    );
  }
  const settings = pushSettings(project.config, project.root, options.sourceDir);
  const access = upload ? accessOf(project, settings, options) : null;
  if (build) await checkExport(project, settings);
  else await checkFolder(settings.exportDir);
  if (upload && !options.allowRehearsal) await refuseRehearsal(project, settings, build);

  // Only who pushes loads the client.
  const hub = access === null ? null : await import('../../export/hub/upload-folder.ts');
  if (access !== null) await hub?.checkHubAccess(access);
  const report = { repoType: settings.repoType, ...(await exportOf(project, settings, options)) };
  if (hub === null || access === null) return { ...report, uploaded: null };
  const uploaded = await hub.uploadFolder({
    ...access,
    folder: report.exportDir,
    isLeftOut: (path) => path === EXPORT_MARKER_FILE,
    private: settings.private,
    commitMessage: settings.commitMessage,
    cleanRemote: settings.cleanRemote,
    onStatus: options.onStatus,
  });
  return { ...report, uploaded };
}

async function exportOf(
  project: Project,
  { sourceDir, exportDir }: PushSettings,
  { build, stop, onStatus }: PushOptions,
): Promise<Pick<PushReport, 'exportDir' | 'records' | 'built'>> {
  if (!build) {
    const records = (await readExportMarker(exportDir))?.records ?? 0;
    return { exportDir, records, built: null };
  }
  onStatus(`building the export in ${exportDir}`);
  const { stats: _, ...built } = await buildExport(project, { sourceDir, exportDir, stop });
  return { exportDir: built.folder, records: built.records, built };
}

function accessOf({ loaded, logger }: Project, settings: PushSettings, options: PushOptions): HubAccess {
  const lack = repoIdLack(settings.repoId);
  if (lack !== null) throw new DlgforgeError('config', textOf(lack));
  const given = options.token?.trim() ?? '';
  const token = given === '' ? (hubToken(loaded.environment)?.reveal() ?? null) : given;
  if (token === null) throw new DlgforgeError('credentials', `${textOf(NO_TOKEN)} Or give it as --token.`);
  logger.redact([...secretsOf(loaded, { user: null, assistant: null, judge: null }), token]);
  return {
    hubUrl: hubUrl(loaded.environment),
    token,
    repoType: settings.repoType,
    repoId: settings.repoId,
    stop: options.stop,
    onWaiting: options.onStatus,
  };
}

const textOf = ({ message, hint }: Lack): string => `${message} ${hint}`;

/** A folder that is uploaded as it is must be one that we built: its whole content becomes public. */
async function checkFolder(folder: string): Promise<void> {
  const found = await stat(folder).catch(() => null);
  if (found?.isDirectory() !== true) {
    throw new DlgforgeError(
      'output',
      `There is no export to upload: ${folder} is not there. Leave --no-export out to build it, or name its folder with --export-dir.`,
    );
  }
  if ((await readExportMarker(folder)) === null) {
    throw new DlgforgeError(
      'output',
      `${folder} was not built by dlgforge: it holds no ${EXPORT_MARKER_FILE}. Leave --no-export out to build an export, or name the folder of one with --export-dir.`,
    );
  }
}

async function refuseRehearsal(project: Project, settings: PushSettings, build: boolean): Promise<void> {
  const rehearsal = build
    ? await isRehearsal(project, settings)
    : (await readExportMarker(settings.exportDir))?.rehearsal;
  if (rehearsal !== true) return;
  throw new DlgforgeError(
    'output',
    `The conversations in ${build ? settings.sourceDir : settings.exportDir} come from the built-in rehearsal and not from a model, so they are not published. Generate them with a model, or push them all the same with --allow-rehearsal.`,
  );
}
