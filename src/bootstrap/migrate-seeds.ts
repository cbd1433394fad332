/** `dlgforge seeds-migrate`: which file becomes which, and the writing of it. */
import { mkdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from 'diff';
import { parse } from 'yaml';
import { loadConfig } from '../config/load.ts';
import { fromProject } from '../config/paths.ts';
import { asMapping } from '../dialogue/seed-layouts.ts';
import { migrateSeeds, type MigratedSeeds } from '../dialogue/seed-migration.ts';
import { replaceFile } from '../export/durable-file.ts';
import { DlgforgeError, isDlgforgeError, messageOf } from '../kernel/errors.ts';

export interface SeedMigrationOptions {
  readonly configPath: string;
  /** As typed; they start from the project. */
  readonly sourceFile?: string | undefined;
  readonly destFile?: string | undefined;
  readonly overwrite: boolean;
  /** Nothing is written, and no folder made. */
  readonly dryRun: boolean;
}

export interface SeedMigration {
  readonly source: string;
  readonly destination: string;
  readonly variants: readonly string[];
  readonly topicCount: number;
  readonly state: 'written' | 'up_to_date' | 'dry_run';
  /** True when the destination holds something else: it is replaced only with `overwrite`. */
  readonly replaces: boolean;
  /** Unified; empty when nothing changes. */
  readonly diff: string;
  readonly notices: readonly string[];
}

/** Where 0.1.0 kept its topics before they were YAML. */
const OLD_FILE = 'seed_topics.json';
const USUAL_FILE = join('data', 'seeds', 'topics.yaml');

/** @throws DlgforgeError `config` for what cannot be read, `output` for what may not or cannot be written. */
export async function migrateSeedFile(options: SeedMigrationOptions): Promise<SeedMigration> {
  const { config, projectRoot, notices } = loadConfig({ configPath: options.configPath, dotenv: false });
  const { path, variant } = config.run.data.seeding.topics;
  const configured = fromProject(path, projectRoot);
  const source = isGiven(options.sourceFile)
    ? fromProject(options.sourceFile, projectRoot)
    : await usualSource(configured, projectRoot);
  const destination = isGiven(options.destFile)
    ? fromProject(options.destFile, projectRoot)
    : /\.ya?ml$/i.test(configured)
      ? configured
      : join(projectRoot, USUAL_FILE);
  const migrated = await readSource(source, [...config.run.target_languages, variant]);
  const before = await readDestination(destination);
  const replaces = before !== null && before !== migrated.yaml;
  const result = {
    source,
    destination,
    variants: migrated.variants,
    topicCount: migrated.topicCount,
    replaces,
    diff: before === migrated.yaml ? '' : diffOf(destination, before, migrated.yaml),
    notices: [...notices, ...migrated.problems.map((problem) => `[seeds] ${problem}`)],
  };
  if (before === migrated.yaml) return { ...result, state: 'up_to_date' };
  if (options.dryRun) return { ...result, state: 'dry_run' };
  if (replaces && !options.overwrite) {
    throw new DlgforgeError(
      'output',
      `Refusing to overwrite existing file: ${destination}\n` +
        'Add --overwrite to replace it; --dry-run shows what would change.',
    );
  }
  await write(destination, migrated.yaml);
  return { ...result, state: 'written' };
}

const isGiven = (path: string | undefined): path is string => path !== undefined && path !== '';

/** 0.1.0 looks for JSON first: who migrates has it still, and the YAML beside may be the file to be made. */
async function usualSource(configured: string, projectRoot: string): Promise<string> {
  const old = join(projectRoot, OLD_FILE);
  const isFile = async (path: string): Promise<boolean> => (await kindOf(path)) === 'file';
  if (/\.json$/i.test(configured) && (await isFile(configured))) return configured;
  if (await isFile(old)) return old;
  return (await isFile(configured)) ? configured : old;
}

async function kindOf(path: string): Promise<'file' | 'folder' | null> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}

async function readSource(path: string, labels: readonly string[]): Promise<MigratedSeeds> {
  const kind = await kindOf(path);
  if (kind === null)
    throw problem(`Seed topics source file not found: ${path}`, 'Name the file with --source-file.');
  if (kind === 'folder')
    throw problem(
      `Expected seed topics FILE for migration, got directory: ${path}`,
      'Name the file with --source-file.',
    );
  const root = asMapping(await parsed(path));
  if (root === null)
    throw problem(
      'Seed topics file must be a YAML/JSON object.',
      `${path} needs topics, or variants of topics, with lists of questions.`,
    );
  const migrated = migrateSeeds(basename(path), root, labels);
  if (migrated === null)
    throw problem(
      'No valid seed topics found in source file.',
      `${path} has no topic with a list of questions.`,
    );
  return migrated;
}

const problem = (text: string, advice: string): DlgforgeError =>
  new DlgforgeError('config', `${text}\n${advice}`);

/** YAML reads JSON too. */
async function parsed(path: string): Promise<unknown> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path));
    return parse(text, { logLevel: 'error' }) as unknown;
  } catch (error) {
    const reason = error instanceof TypeError ? 'it is not UTF-8 text' : messageOf(error);
    throw new DlgforgeError(
      'config',
      `The seed topics file ${path} cannot be read: ${reason}. Correct it, or name another with --source-file.`,
      { cause: error },
    );
  }
}

/** Null when there is none. */
async function readDestination(path: string): Promise<string | null> {
  const kind = await kindOf(path);
  if (kind === 'folder')
    throw new DlgforgeError('output', `${path} is a folder. Name a file with --dest-file.`);
  return kind === null ? null : await readFile(path, 'utf8');
}

function diffOf(path: string, before: string | null, after: string): string {
  return createTwoFilesPatch(
    before === null ? '/dev/null' : path,
    path,
    before ?? '',
    after,
    undefined,
    undefined,
    {
      headerOptions: FILE_HEADERS_ONLY,
    },
  );
}

async function write(path: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await replaceFile(path, text);
  } catch (error) {
    const cause = isDlgforgeError(error) ? error.cause : error;
    throw new DlgforgeError(
      'output',
      `Cannot write ${path}: ${messageOf(cause)}. Name a place that this user may write with --dest-file.`,
      { cause },
    );
  }
}
