import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll } from 'vitest';
import type { Environment } from '../../../src/config/environment.ts';
import { loadConfig, type LoadedConfig, type Overrides } from '../../../src/config/load.ts';
import type { ConfigProblem } from '../../../src/config/problem.ts';
import { isDlgforgeError } from '../../../src/kernel/errors.ts';

const FOLDERS: string[] = [];
afterAll(() => {
  for (const folder of FOLDERS.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A project folder with these files, gone when the tests of the file have ended. */
export function project(files: Readonly<Record<string, string>>): string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'dlgforge-config-')));
  FOLDERS.push(root);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

export const load = (yaml: string, env: Environment = {}, overrides: Overrides = {}): LoadedConfig =>
  loadConfig({ configPath: join(project({ 'config.yaml': yaml }), 'config.yaml'), env, overrides });

export interface Failure {
  readonly message: string;
  readonly problems: readonly ConfigProblem[];
}

/** What a load that must fail reports. */
export function failure(action: () => unknown): Failure {
  try {
    action();
  } catch (error) {
    if (!isDlgforgeError(error, 'config')) throw error;
    return { message: error.message, problems: error.details['problems'] as ConfigProblem[] };
  }
  throw new Error('it loaded, but it had to be refused');
}

export const refused = (yaml: string, env: Environment = {}, overrides: Overrides = {}): Failure =>
  failure(() => load(yaml, env, overrides));
