/**
 * A configuration that travels: stored without its secrets, made whole again on a node with the secrets
 * that this node has. Nothing else of the node's environment counts: what a run does is decided where it
 * was submitted (I5), and its keys stay where they are used (I8).
 */
import { z } from 'zod';
import { DlgforgeError } from '../kernel/errors.ts';
import { type Credentials, resolveCredentials } from './credentials.ts';
import { KEY_NAME_VARIABLES } from './environment-table.ts';
import type { Environment } from './environment.ts';
import { isNullable, itemOf, metaOf, shapeOf } from './keys.ts';
import { lacksOf, type Lacks } from './lacks.ts';
import type { LoadedConfig } from './load.ts';
import { type ConfigPlace, MASK, masked } from './masking.ts';
import { customaryKeyVariable } from './provider-keys.ts';
import { rolesFor } from './roles.ts';
import { AGENT_ROLES, type AgentRole, type Config, configSchema } from './schema.ts';
import { secretAt, valueAt } from './secret-at.ts';
import { secretsOf } from './secrets-of.ts';
import type { StoredConfig } from './stored-config.ts';

/** A configuration on a node, with what `openBackend` needs of it. */
export interface RestoredConfig extends Pick<LoadedConfig, 'config' | 'environment'> {
  readonly roles: readonly AgentRole[];
  /** The provider key of each role; null where none is needed, or this node lacks it. */
  readonly keys: Credentials['keys'];
  readonly lacks: Lacks;
  /** Everything secret that this process may use here, for its logger to hide. */
  readonly secrets: readonly string[];
}

/**
 * `own` is the configuration as it was written, where this process has it: its secrets then count before
 * the environment's.
 * @throws DlgforgeError `config` when this build does not know a setting of it.
 */
export function restoreConfig(
  stored: StoredConfig,
  environment: Environment,
  own: Config | null = null,
): RestoredConfig {
  const values = structuredClone(stored.values);
  const missing: ConfigPlace[] = [];
  // The last one first: what is taken out of a list moves what follows it.
  for (const place of stored.withheld.toReversed()) {
    const secret = ownSecret(own, place, values) ?? secretAt(values, place, environment);
    if (secret === null) missing.unshift(place);
    put(values, place, secret);
  }
  const config = parsed(values);
  const known = withKeyNames(config, environment, stored.keyVariables);
  const roles = rolesFor(config, 'run');
  const { keys } = resolveCredentials(config, known, roles);
  return {
    config,
    environment: known,
    roles,
    keys,
    secrets: secretsOf({ config, environment: known }, keys),
    lacks: lacksOf({ config, environment: known, roles, stored, missing }),
  };
}

/** The value at the same place of the configuration as it was written, when it is still that one. */
function ownSecret(own: Config | null, place: ConfigPlace, values: unknown): string | null {
  if (own === null || valueAt(masked(own).value, place) !== valueAt(values, place)) return null;
  const value = valueAt(own, place);
  if (typeof value === 'string') return value;
  return value !== null && typeof value === 'object' && 'reveal' in value
    ? (value as Reveals).reveal()
    : null;
}

interface Reveals {
  reveal(): string;
}

/** Puts a secret where its mask is. Without one nothing masked stays: no server may be sent three stars. */
function put(values: unknown, place: ConfigPlace, secret: string | null): void {
  const holder = valueAt(values, place.slice(0, -1)) as Record<string | number, unknown>;
  const last = place.at(-1) ?? '';
  const rest = withoutMask(holder[last]);
  if (secret !== null) holder[last] = secret;
  else if (rest !== null) holder[last] = rest;
  else if (Array.isArray(holder)) takeItem(holder, Number(last));
  else delete holder[last];
}

/** An address works without its user information; other texts have no meaning without their secret. */
function withoutMask(shown: unknown): string | null {
  if (typeof shown !== 'string' || !/^https?:\/\//i.test(shown)) return null;
  const url = new URL(shown.replace(`//${MASK}@`, '//'));
  const kept = [...url.searchParams].filter(([, value]) => value !== MASK);
  url.search = new URLSearchParams(kept).toString();
  return url.href;
}

/** An argument goes together with the option before it, whose value it is. */
function takeItem(list: unknown[], index: number): void {
  const option = list[index - 1];
  const follows = list[index] === MASK && typeof option === 'string' && option.startsWith('--');
  list.splice(follows ? index - 1 : index, follows ? 2 : 1);
}

function parsed(values: unknown): Config {
  const result = configSchema.safeParse(acceptable(configSchema, values));
  if (result.success) return result.data;
  throw new DlgforgeError(
    'config',
    `The stored configuration of the run has settings that this build does not know, so this node cannot work on it: ${z.prettifyError(result.error)}. Use the same version of dlgforge on every node.`,
  );
}

/** A stored null is the value of a key that was not given; where the schema knows no null its default is meant. */
function acceptable(schema: z.ZodType, value: unknown): unknown {
  const { kind } = metaOf(schema, 'a stored configuration');
  if (kind === 'objects' && Array.isArray(value))
    return value.map((item) => acceptable(itemOf(schema), item));
  if (kind !== 'section' || value === null || typeof value !== 'object') return value;
  const shape = shapeOf(schema);
  const entries = Object.entries(value).flatMap(([name, inner]): [string, unknown][] => {
    const own = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (own === undefined) return [[name, inner]];
    return inner === null && !isNullable(own) ? [] : [[name, acceptable(own, inner)]];
  });
  return Object.fromEntries(entries);
}

/**
 * This node's own mapping counts, then the submitter's name for the key, unless this node has the key only
 * under the customary name.
 */
function withKeyNames(
  { llm }: Config,
  environment: Environment,
  names: StoredConfig['keyVariables'],
): Environment {
  const has = (variable: string | null): boolean =>
    variable !== null && (environment[variable]?.trim() ?? '') !== '';
  const added: Record<string, string> = {};
  for (const role of AGENT_ROLES) {
    const { name, older } = KEY_NAME_VARIABLES[role];
    const given = names[role];
    if (given === null || has(name) || has(older)) continue;
    if (has(given) || !has(customaryKeyVariable(llm.agents[role]))) added[name] = given;
  }
  return { ...environment, ...added };
}
