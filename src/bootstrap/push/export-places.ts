/** Where an export may go, and where its parts go in it. */
import { homedir } from 'node:os';
import { join, posix } from 'node:path';
import { EXPORT_MARKER, type ExportFolderOptions } from '../../export/dataset/export-folder.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { Project } from '../project.ts';

export interface ExportPlaces {
  /** Absolute: the output folder, or another one of its kind. */
  readonly sourceDir: string;
  /** Absolute; replaced whole. */
  readonly exportDir: string;
}

/** By path in the export, with `/`. */
export interface Paths {
  readonly source: string;
  /** Null when it is not wanted. */
  readonly stats: string | null;
  readonly plots: string | null;
}

/** Where the parts go; each has a place of its own, inside the export. */
export function pathsOf({ config }: Project, source: string): Paths {
  const push = config.saving.hf_push;
  const stats = push.generate_stats ? insidePath('saving.hf_push.stats_file', push.stats_file) : null;
  const plots = push.generate_plots ? insidePath('saving.hf_push.plots_dir', push.plots_dir) : null;
  const taken = new Set<string>();
  const places = [
    ...TAKEN.map((path) => ['dlgforge', path] as const),
    ['saving.hf_push.source_file', posix.normalize(source)] as const,
    ...(stats === null ? [] : [['saving.hf_push.stats_file', stats] as const]),
    ...(plots === null ? [] : [['saving.hf_push.plots_dir', plots] as const]),
  ];
  for (const [key, path] of places) {
    if (taken.has(path))
      throw new DlgforgeError(
        'config',
        `\`${key}\` is ${path}, and the export has something else there. Choose another name.`,
      );
    taken.add(path);
  }
  return { source: posix.normalize(source), stats, plots };
}

const TAKEN = ['README.md', EXPORT_MARKER, 'run_state', 'sharegpt', 'openai', 'chatml', 'data', 'zst'];

function insidePath(key: string, path: string): string {
  const normal = posix.normalize(path.trim().replaceAll('\\', '/')).replace(/\/$/, '');
  if (normal !== '.' && normal !== '..' && !normal.startsWith('../') && !posix.isAbsolute(normal))
    return normal;
  throw new DlgforgeError(
    'config',
    `\`${key}\` is ${path}, which is not inside the export folder. Give a relative path without \`..\`.`,
  );
}

/** What an export must not be put over (fault A4). */
export function forbidden(
  { root, folders }: Project,
  { sourceDir }: ExportPlaces,
): ExportFolderOptions['never'] {
  const whole = (path: string, name: string) => ({ path, name, inside: false });
  const keepOut = (path: string, name: string) => ({ path, name, inside: true });
  return [
    whole(sourceDir, 'the folder of the dataset'),
    whole(folders.output, 'the output folder'),
    whole(root, 'the project'),
    whole(process.cwd(), 'the working directory'),
    whole(homedir(), 'your home'),
    whole('/', 'the whole file system'),
    keepOut(join(sourceDir, 'conversations'), 'the conversations of the dataset'),
    keepOut(join(sourceDir, 'run_state'), 'the run states of the dataset'),
    keepOut(folders.knowledge, 'the documents'),
    keepOut(folders.index, 'the index'),
    keepOut(folders.state, 'the state of dlgforge'),
    keepOut(folders.logs, 'the logs'),
  ];
}
