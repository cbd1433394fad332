import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Environment } from '../../../src/config/environment.ts';
import { loadConfig, type LoadedConfig, type Overrides } from '../../../src/config/load.ts';
import type { ConfigProblem } from '../../../src/config/problem.ts';
import { isDlgforgeError } from '../../../src/kernel/errors.ts';

/** A project folder with these files, gone when the test ends. */
export function project(files: Readonly<Record<string, string>>): string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'dlgforge-config-')));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
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
