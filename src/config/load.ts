import { readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { invariant, messageOf } from '../kernel/errors.ts';
import { withDotenv } from './dotenv.ts';
import { processEnvironment, readEnvironment, type Environment } from './environment.ts';
import { KEYS } from './keys.ts';
import { Layer, readKey, readTree } from './layer.ts';
import { translateLegacy } from './legacy.ts';
import { expandHome } from './paths.ts';
import { Findings } from './problem.ts';
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

/**
 * Defaults, then the file, then the environment, then the command line; each overrides the one
 * before, key by key.
 * @throws DlgforgeError `config` that reports everything that is off, at once.
 */
export function loadConfig({
  configPath,
  env = processEnvironment(),
  overrides = {},
}: LoadOptions): LoadedConfig {
  const findings = new Findings();
  const path = findFile(configPath, findings);
  const projectRoot = dirname(path);
  const environment = withDotenv(env, projectRoot, findings);

  const layers = [
    readFile(path, findings),
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
  findings.throwIfAny();
  const origins = Object.fromEntries(
    [...KEYS.keys()].map((key) => [key, originText(merged.get(key)?.origin ?? null)]),
  );
  return { config, origins, notices: findings.notices, projectRoot, configPath: path, environment };
}

function findFile(configPath: string, findings: Findings): string {
  const path = resolve(expandHome(configPath));
  try {
    const real = realpathSync(path);
    if (statSync(real).isFile()) return real;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      findings.problem(null, `Cannot read the config file ${path}: ${messageOf(error)}.`);
      findings.throwIfAny();
    }
  }
  findings.problem(null, `Config file not found: ${path}`, {
    hint: 'Give the path of a YAML file, or make one with `dlgforge init`.',
  });
  findings.throwIfAny();
  return path;
}

function readFile(path: string, findings: Findings): Layer {
  const root = parseYaml(readText(path, findings), path, findings);
  rejectKeys(root, findings);
  translateLegacy(root, findings);
  const layer = readTree(root, findings);
  implyTurnModeOfFile(layer, findings);
  return layer;
}

function readText(path: string, findings: Findings): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const text = error instanceof TypeError ? 'it is not UTF-8 text' : messageOf(error);
    findings.problem(null, `Cannot read the config file ${path}: ${text}.`, {
      hint: 'Save it as UTF-8, readable for this user.',
    });
    return '';
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
