/** The folders that a run writes to: whether it may, and whether there is room. Makes none of them. */
import { access, constants, stat, statfs } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { messageOf } from '../../kernel/errors.ts';
import type { Project } from '../project.ts';
import { type Check, ok, problem, warning } from './check.ts';

const MIB = 1024 * 1024;
const FREE_NEEDED = 200 * MIB;
const FREE_WANTED = 2048 * MIB;

interface Folder {
  readonly what: string;
  readonly path: string;
}

interface Ground {
  readonly folder: Folder;
  /** The folder itself, or where it would be made. */
  readonly at: string;
  readonly device: number;
}

export async function folderChecks(project: Project): Promise<readonly Check[]> {
  const { output, state, index, logs } = project.folders;
  const folders = [
    { what: 'output folder', path: output },
    { what: 'state folder', path: state },
    { what: 'index folder', path: index },
    { what: 'log folder', path: logs },
  ];
  const grounds = await Promise.all(folders.map(groundOf));
  const usable = grounds.filter((ground) => 'device' in ground);
  const byDevice = Map.groupBy(usable, ({ device }) => device);
  const space = await Promise.all([...byDevice.values()].map((group) => spaceCheck(group, project.root)));
  return [...grounds.filter((ground) => 'outcome' in ground), ...space];
}

/** Where the folder stands or would be made, when this user may write there. */
async function groundOf(folder: Folder): Promise<Ground | Check> {
  const at = await nearestExisting(folder.path);
  const stats = await stat(at);
  if (!stats.isDirectory()) {
    const hint = `Remove it, or set another path for the ${folder.what}.`;
    return problem('disk', `The ${folder.what} ${folder.path} cannot be made: ${at} is a file.`, hint);
  }
  try {
    await access(at, constants.W_OK | constants.X_OK);
  } catch (error) {
    const text = `The ${folder.what} ${folder.path} cannot be written: ${messageOf(error)}`;
    return problem(
      'disk',
      text,
      `Give this user write access to ${at}, or set another path for the ${folder.what}.`,
    );
  }
  return { folder, at, device: stats.dev };
}

async function nearestExisting(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    const found = await stat(at).catch(() => null);
    if (found !== null || at === dirname(at)) return at;
  }
}

async function spaceCheck(group: readonly Ground[], root: string): Promise<Check> {
  const [first] = group;
  const { bavail, bsize } = await statfs(first?.at ?? root);
  const free = bavail * bsize;
  const names = group.map(({ folder }) => relative(root, folder.path) || '.');
  const text = `${sizeText(free)} free for ${names.join(', ')}`;
  if (free < FREE_NEEDED) return problem('disk', text, 'Free some space: a run needs at least 200 MiB.');
  if (free < FREE_WANTED) return warning('disk', text, 'A long run may need more: about 50 KiB per turn.');
  return ok('disk', text);
}

const sizeText = (bytes: number): string =>
  bytes < 1024 * MIB ? `${Math.floor(bytes / MIB)} MiB` : `${(bytes / (1024 * MIB)).toFixed(1)} GiB`;
