import { readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { invariant, messageOf } from '../kernel/errors.ts';
import { withDotenv } from './dotenv.ts';
import { processEnvironment, readEnvironment, type Environment } from './environment.ts';
import { KEYS } from './keys.ts';
import { Layer, readKey, readTree } from './layer.ts';
import { translateLegacy } from './legacy.ts';
import { expandHome } from './paths.ts';
import { type ConfigProblem, Findings, problemsError } from './problem.ts';
import { rejectKeys } from './rejected.ts';
import { checkRules } from './rules.ts';
import { configSchema, type Config } from './schema.ts';
import { originText, valueNode, type Origin } from './source.ts';
import { implyTurnMode, implyTurnModeOfFile, settleTurns } from './turns.ts';
import { parseYaml } from './yaml-file.ts';

/** Values given on the command line, by key path; `flag` is how it was written (`--batch-size`). */
export type Overrides = Readonly<Record<string, { readonly value: unknown; readonly flag: string }>>;

export interface LoadOptions {
  readonly configPath: string;
  /** @default the environment of the process */
  readonly env?: Environment;
  readonly overrides?: Overrides;
  /** False for commands that need no credentials: the project's `.env` is not opened. @default true */
  readonly dotenv?: boolean;
}

export interface LoadedConfig {
  readonly config: Config;
  /** By key path: `default`, `file:<path>:<line>`, `env:<VARIABLE>` or `flag:<--name>`. */
  readonly origins: Readonly<Record<string, string>>;
  /** What a person should know: older names, words that YAML versions read differently, ignored `.env` keys. */
  readonly notices: readonly string[];
  /** The folder of the configuration file. */
  readonly projectRoot: string;
  /** Absolute, symbolic links resolved. */
  readonly configPath: string;
  /** The environment with the project's `.env` files; secrets are looked up here. */
  readonly environment: Environment;
}

/** What a configuration comes to, and everything that is off in it. */
export interface ExaminedConfig {
  /** What can be read, with defaults for what is off; null when there is no file or it is not YAML. */
  readonly loaded: LoadedConfig | null;
  readonly problems: readonly ConfigProblem[];
}

/**
 * Defaults, then the file, then the environment, then the command line; each overrides the one
 * before, key by key.
 * @throws DlgforgeError `config` that reports everything that is off, at once.
 */
export function loadConfig(options: LoadOptions): LoadedConfig {
  const { loaded, problems } = examineConfig(options);
  if (loaded === null || problems.length > 0) throw problemsError('config', problems);
  return loaded;
}

/** The same for whoever wants to look further although something is off. Never throws for what a person wrote. */
export function examineConfig({
  configPath,
  env = processEnvironment(),
  overrides = {},
  dotenv = true,
}: LoadOptions): ExaminedConfig {
  const findings = new Findings();
  const path = findFile(configPath, findings);
  if (path === null) return { loaded: null, problems: findings.problems };
  const projectRoot = dirname(path);
  const environment = dotenv ? withDotenv(env, projectRoot, findings) : env;

  const file = readFile(path, findings);
  const layers = [
    file ?? new Layer(),
    readVariables(environment, findings),
    readOverrides(overrides, findings),
  ];
  const merged = new Layer();
  for (const { assignments } of layers)
    for (const [key, { value, origin }] of assignments) merged.set(key, value, origin);
  settleTurns(merged, findings);
  settleLanguages(merged);

  const config = assemble(merged);
  checkRules(config, projectRoot, (key) => originBelow(merged, key), findings);
  const { problems, notices } = findings;
  if (file === null) return { loaded: null, problems };
  const origins = Object.fromEntries(
    [...KEYS.keys()].map((key) => [key, originText(merged.get(key)?.origin ?? null)]),
  );
  return { loaded: { config, origins, notices, projectRoot, configPath: path, environment }, problems };
}

function findFile(configPath: string, findings: Findings): string | null {
  const path = resolve(expandHome(configPath));
  try {
    const real = realpathSync(path);
    if (statSync(real).isFile()) return real;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      findings.problem(null, `Cannot read the config file ${path}: ${messageOf(error)}.`, {
        hint: 'Make it readable for this user.',
      });
      return null;
    }
  }
  findings.problem(null, `Config file not found: ${path}`, {
    hint: 'Give the path of a YAML file, or make one with `dlgforge init`.',
  });
  return null;
}

/** Null when nothing in it can be read. */
function readFile(path: string, findings: Findings): Layer | null {
  const text = readText(path, findings);
  if (text === null) return null;
  const before = findings.problems.length;
  const root = parseYaml(text, path, findings);
  if (root.entries.size === 0 && findings.problems.length > before) return null;
  rejectKeys(root, findings);
  translateLegacy(root, findings);
  const layer = readTree(root, findings);
  implyTurnModeOfFile(layer, findings);
  return layer;
}

function readText(path: string, findings: Findings): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const text = error instanceof TypeError ? 'it is not UTF-8 text' : messageOf(error);
    findings.problem(null, `Cannot read the config file ${path}: ${text}.`, {
      hint: 'Save it as UTF-8, readable for this user.',
    });
    return null;
  }
}

function readVariables(environment: Environment, findings: Findings): Layer {
  const layer = readEnvironment(environment, findings);
  implyTurnMode(layer);
  return layer;
}

function readOverrides(overrides: Overrides, findings: Findings): Layer {
  const layer = new Layer();
  for (const [key, { value, flag }] of Object.entries(overrides)) {
    const definition = KEYS.get(key);
    invariant(definition !== undefined, `${flag} sets a key of the configuration, not ${key}`);
    const origin: Origin = { type: 'flag', flag };
    const read = readKey(definition, valueNode(value, origin), findings);
    if (read !== undefined) layer.set(key, read, origin);
  }
  implyTurnMode(layer);
  return layer;
}

/** A list without a language means the default. */
function settleLanguages(merged: Layer): void {
  const key = 'run.target_languages';
  const given = merged.get(key);
  if (Array.isArray(given?.value) && given.value.length === 0) merged.assignments.delete(key);
}

/** Every value has passed the schema of its key, so together they pass the whole schema. */
function assemble(merged: Layer): Config {
  const tree: Record<string, unknown> = {};
  for (const [key, { value }] of merged.assignments) {
    const parts = key.split('.');
    const last = parts.pop() ?? '';
    let section = tree;
    for (const part of parts) section = (section[part] ??= {}) as Record<string, unknown>;
    section[last] = value;
  }
  return configSchema.parse(tree);
}

/** Where a key came from, or for a section the first of its keys that was given. */
function originBelow(merged: Layer, key: string): Origin | null {
  const exact = merged.get(key);
  if (exact !== undefined) return exact.origin;
  for (const [path, { origin }] of merged.assignments) if (path.startsWith(`${key}.`)) return origin;
  return null;
}
