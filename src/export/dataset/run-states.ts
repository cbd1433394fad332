/**
 * Run states on their way out of this machine: absolute paths of it are made relative or taken out
 * (fault I11). Ours hold none; those of 0.1.0 name the folders of whoever made them.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, isAbsolute, join, posix, win32 } from 'node:path';
import { Float, parsePythonNumbers, pythonJsonIndented } from '../../dialogue/python-json.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import { RUN_STATE_FOLDER } from '../dataset-rows.ts';
import { codeOf, naming } from '../output-error.ts';

const LAST_RUN = 'last_run_id.txt';

/**
 * Copies the run states of a folder; gives their paths in the export. Only run states: nothing else that may
 * lie beside them leaves.
 * @param roots folders of this machine whose names shall not be seen.
 */
export async function copyRunStates(
  sourceDir: string,
  exportFolder: string,
  roots: readonly string[],
): Promise<readonly string[]> {
  const from = join(sourceDir, RUN_STATE_FOLDER);
  const names = (await runStateNames(from)).toSorted();
  if (names.length === 0) return [];
  const to = join(exportFolder, RUN_STATE_FOLDER);
  await naming(to, () => mkdir(to));
  for (const name of names) {
    const text = await readFile(join(from, name), 'utf8');
    await naming(join(to, name), () =>
      writeFile(join(to, name), name === LAST_RUN ? text : withoutPaths(text, name, roots)),
    );
  }
  return names.map((name) => `${RUN_STATE_FOLDER}/${name}`);
}

async function runStateNames(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && (entry.name.endsWith('.json') || entry.name === LAST_RUN))
      .map(({ name }) => name);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function withoutPaths(text: string, name: string, roots: readonly string[]): string {
  let state: unknown;
  try {
    state = parsePythonNumbers(text);
  } catch (cause) {
    throw new DlgforgeError(
      'output',
      `${RUN_STATE_FOLDER}/${name} is damaged and cannot be checked for paths of this machine. Move it away, or leave the run states out (saving.hf_push.include_run_state: false).`,
      { cause },
    );
  }
  const known = [...roots, ...rootsIn(state)].filter((root) => isPath(root) && root.length > 1);
  // The longest first: what is inside of another one is made relative to the nearer.
  const patterns = [...new Set(known.map((root) => root.replace(/[/\\]+$/, '')))]
    .toSorted((a, b) => b.length - a.length)
    .map((root) => new RegExp(`${escaped(root)}(?:[/\\\\]|(?![\\w-]))`, 'g'));
  return pythonJsonIndented(rewritten(state, '', patterns));
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&');

const FOLDER_KEYS = new Set(['project_root', 'config_dir']);

/** The folders that a run state names as its own. */
function rootsIn(value: unknown, key = ''): string[] {
  if (typeof value === 'string') return FOLDER_KEYS.has(key) ? [value] : [];
  if (typeof value !== 'object' || value === null || value instanceof Float) return [];
  if (Array.isArray(value)) return value.flatMap((item) => rootsIn(item));
  return Object.entries(value).flatMap(([name, inner]) => rootsIn(inner, name));
}

const isPath = (text: string): boolean => posix.isAbsolute(text) || win32.isAbsolute(text);

function rewritten(value: unknown, key: string, roots: readonly RegExp[]): unknown {
  if (typeof value === 'string') return rewrittenText(value, key, roots);
  if (typeof value !== 'object' || value === null || value instanceof Float) return value;
  if (Array.isArray(value)) return value.map((item) => rewritten(item, key, roots));
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, rewritten(inner, name, roots)]),
  );
}

function rewrittenText(text: string, key: string, roots: readonly RegExp[]): string {
  if (FOLDER_KEYS.has(key)) return '.';
  let inside = text;
  for (const root of roots) inside = inside.replace(root, (found) => (/[/\\]$/.test(found) ? '' : '.'));
  if (inside === '' && text !== '') return '.';
  return /_(?:path|dir|file|root)$/.test(key) && isPath(inside) ? lastPart(inside) : inside;
}

const lastPart = (path: string): string => (isAbsolute(path) ? basename(path) : win32.basename(path));
