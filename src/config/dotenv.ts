import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../kernel/errors.ts';
import { ENVIRONMENT_VARIABLES, KEY_NAME_VARIABLES } from './environment-table.ts';
import { OWN_VARIABLES } from './own-variables.ts';
import type { Environment } from './environment.ts';
import { Findings, problemsError } from './problem.ts';

/** A file beside the configuration, then the place where 0.1.0 looked too; the first one counts. */
const FILES = ['.env', join('src', 'dlgforge', '.env')] as const;

const SECRET_SUFFIXES = ['_API_KEY', '_TOKEN', '_ACCESS_TOKEN', '_SECRET', '_SECRET_KEY'] as const;

const KNOWN: ReadonlySet<string> = new Set([
  ...ENVIRONMENT_VARIABLES.map(({ name }) => name),
  ...OWN_VARIABLES.map(({ name }) => name),
  ...Object.values(KEY_NAME_VARIABLES).flatMap(({ name, older }) => [name, older]),
]);

const isAllowed = (name: string): boolean =>
  KNOWN.has(name) || SECRET_SUFFIXES.some((suffix) => name.endsWith(suffix));

/**
 * The environment with what the project's `.env` files add. Variables that are already there win.
 * Only secrets and dlgforge's own variables are taken, so that a file made for another program
 * cannot change this one; the rest is named, its values never.
 */
export function withDotenv(environment: Environment, projectRoot: string, findings: Findings): Environment {
  const added: Record<string, string> = {};
  for (const name of FILES) {
    const file = join(projectRoot, name);
    for (const [key, value] of parseDotenv(readFile(file, findings))) {
      if (!isAllowed(key)) {
        findings.notice(
          null,
          `[env] Ignoring .env key: ${key}. Only secrets and dlgforge's own variables are read from ${file}.`,
        );
      } else if (environment[key] === undefined && added[key] === undefined) added[key] = value;
    }
  }
  return { ...environment, ...added };
}

/**
 * The environment of a node that has no configuration file: its process's, with the `.env` of its working
 * folder.
 * @throws DlgforgeError `config` when that cannot be read.
 */
export function nodeEnvironment(environment: Environment, folder: string): Environment {
  const findings = new Findings();
  const complete = withDotenv(environment, folder, findings);
  if (findings.problems.length > 0) throw problemsError('config', findings.problems);
  return complete;
}

function readFile(file: string, findings: Findings): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // A folder called .env is a Python environment, not ours.
    if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EISDIR') {
      findings.problem(null, `Cannot read ${file}: ${messageOf(error)}.`, {
        hint: 'Make it readable, or remove it.',
      });
    }
    return '';
  }
}

/** `NAME=value` lines: no comments behind values, no escapes, no interpolation; surrounding quotes are taken off. */
export function parseDotenv(text: string): [name: string, value: string][] {
  return text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .flatMap((raw): [string, string][] => {
      const line = raw.trim();
      const equals = line.indexOf('=');
      if (line.startsWith('#') || equals < 0) return [];
      const name = line
        .slice(0, equals)
        .replace(/^export\s+/, '')
        .trim();
      const value = line
        .slice(equals + 1)
        .trim()
        .replace(/^["']+|["']+$/g, '');
      return name === '' ? [] : [[name, value]];
    });
}
