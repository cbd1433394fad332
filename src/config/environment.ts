import { messageOf } from '../kernel/errors.ts';
import { ENVIRONMENT_VARIABLES, type EnvironmentVariable } from './environment-table.ts';
import { keyDefinition } from './keys.ts';
import { Layer, readKey } from './layer.ts';
import type { Findings } from './problem.ts';
import { textNode, valueNode, type Origin, type SourceNode } from './source.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The only place that looks at the real environment. */
export const processEnvironment = (): Environment => process.env;

/** Reads every variable of the table. Empty means unset, except for TARGET_LANGUAGES, where it means `en`. */
export function readEnvironment(environment: Environment, findings: Findings): Layer {
  const layer = new Layer();
  const used = new Map<string, EnvironmentVariable>();
  for (const variable of ENVIRONMENT_VARIABLES) {
    const raw = environment[variable.name];
    if (raw === undefined || (raw.trim() === '' && variable.name !== 'TARGET_LANGUAGES')) continue;
    const first = used.get(variable.key);
    if (first !== undefined) {
      reportBoth(first, variable, environment, findings);
      continue;
    }
    used.set(variable.key, variable);
    if (variable.replacedBy !== undefined)
      findings.notice(null, `Deprecated: the variable ${variable.name} is now ${variable.replacedBy}.`);
    readVariable(variable, raw, layer, findings);
  }
  return layer;
}

function reportBoth(
  first: EnvironmentVariable,
  second: EnvironmentVariable,
  environment: Environment,
  findings: Findings,
): void {
  if (environment[first.name] === environment[second.name]) return;
  findings.notice(
    null,
    `${first.name} and ${second.name} are both set and differ: ${first.name} counts for \`${first.key}\`.`,
  );
}

function readVariable(variable: EnvironmentVariable, raw: string, layer: Layer, findings: Findings): void {
  const origin: Origin = { type: 'environment', variable: variable.name };
  const node =
    variable.json === undefined ? textNode(raw, origin) : readJson(variable, raw, origin, findings);
  if (node === null) return;
  if (raw.trim() === '') return layer.set(variable.key, ['en'], origin);
  const value = readKey(keyDefinition(variable.key), node, findings);
  if (value !== undefined) layer.set(variable.key, value, origin);
}

function readJson(
  { name, key, json }: EnvironmentVariable,
  raw: string,
  origin: Origin,
  findings: Findings,
): SourceNode | null {
  let value: unknown;
  try {
    value = JSON.parse(raw);
  } catch (error) {
    findings.problem(origin, `${name} must be valid JSON ${json}: ${withoutContent(messageOf(error))}.`, {
      keyPath: key,
    });
    return null;
  }
  const fits =
    json === 'list'
      ? Array.isArray(value)
      : value !== null && typeof value === 'object' && !Array.isArray(value);
  if (fits) return valueNode(value, origin);
  findings.problem(origin, `${name} must be a JSON ${json}.`, { keyPath: key });
  return null;
}

/** JSON.parse quotes a piece of the text, which may be a key (I8). */
const withoutContent = (message: string): string =>
  message.replace(/[,:]? ?"[\s\S]*$/, '').replace(/Unexpected token .*/s, 'unexpected character');
