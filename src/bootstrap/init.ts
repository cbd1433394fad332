/** `dlgforge init`: a project that runs at once, to be changed from there. Never takes away what is there. */
import { cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  type StarterOptions,
  starterConfig,
  STARTER_ENVIRONMENT,
  STARTER_IGNORED,
} from '../config/init-config.ts';
import { expandHome, knowledgeDir, starterKnowledgeDir } from '../config/paths.ts';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';

export interface InitOptions extends StarterOptions {
  readonly folder: string;
  /** Replaces a configuration that is there; other files stay in any case. */
  readonly force: boolean;
}

export interface InitReport {
  readonly folder: string;
  readonly configPath: string;
  /** Names below the folder. */
  readonly written: readonly string[];
  /** Were there and were left alone. */
  readonly kept: readonly string[];
  /** True when the only document is the example. */
  readonly exampleOnly: boolean;
}

const CONFIG_FILE = 'config.yaml';

/** @throws DlgforgeError `output` when there is a configuration already, or the folder cannot be written. */
export async function initProject({ folder: given, force, ...starter }: InitOptions): Promise<InitReport> {
  const folder = resolve(expandHome(given));
  try {
    await mkdir(folder, { recursive: true });
    const configPath = join(folder, CONFIG_FILE);
    if (!(await write(configPath, starterConfig(starter), force))) throw configExists(configPath);
    const others = { '.env.example': STARTER_ENVIRONMENT, '.gitignore': STARTER_IGNORED };
    const written = [CONFIG_FILE];
    const kept: string[] = [];
    for (const [name, text] of Object.entries(others)) {
      ((await write(join(folder, name), text, false)) ? written : kept).push(name);
    }
    const exampleOnly = await writeExample(knowledgeDir(folder));
    (exampleOnly ? written : kept).push('knowledge/');
    return { folder, configPath, written, kept, exampleOnly };
  } catch (error) {
    if (error instanceof DlgforgeError) throw error;
    throw new DlgforgeError(
      'output',
      `Cannot write to ${folder}: ${messageOf(error)}. Choose a folder that this user may write.`,
      {
        cause: error,
      },
    );
  }
}

/** False when the file is there and stays as it is. */
async function write(path: string, text: string, replace: boolean): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: replace ? 'w' : 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** False when there is anything in the knowledge folder: it is the user's. */
async function writeExample(folder: string): Promise<boolean> {
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) return false;
  await cp(starterKnowledgeDir(), folder, { recursive: true });
  return true;
}

const configExists = (path: string): DlgforgeError =>
  new DlgforgeError(
    'output',
    `${path} is there already, and nothing was written. Choose another folder, or replace it with --force.`,
  );
