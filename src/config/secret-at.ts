/** Where a node finds a secret that was withheld from a stored configuration: only in its own environment. */
import { readSecret } from './credentials.ts';
import { variablesOf } from './environment-table.ts';
import type { Environment } from './environment.ts';
import { type ConfigPlace, masked } from './masking.ts';
import { customaryKeyVariable } from './provider-keys.ts';

/** Keys that say how this process reaches its own services; a node has its own, whatever the run's say. */
const OWN_CONNECTIONS: readonly string[] = [
  'store.postgres.dsn',
  'run.distributed.nats_url',
  'run.distributed.nats_token',
];

/** By the argument or the name of a free mapping that carries the secret. */
const CUSTOMARY_VARIABLES: Readonly<Record<string, string>> = {
  '--api-key': 'VLLM_API_KEY',
  '--hf-token': 'HF_TOKEN',
  token: 'HF_TOKEN',
};

export const isOwnConnection = (place: ConfigPlace): boolean => OWN_CONNECTIONS.includes(place.join('.'));

export function valueAt(tree: unknown, place: ConfigPlace): unknown {
  return place.reduce<unknown>(
    (value, part) =>
      value !== null && typeof value === 'object'
        ? (value as Record<string | number, unknown>)[part]
        : undefined,
    tree,
  );
}

/** The secret for a masked value; null when this environment has none. */
export function secretAt(values: unknown, place: ConfigPlace, environment: Environment): string | null {
  const shown = valueAt(values, place);
  return (
    overriding(place, shown, environment) ??
    endpointKey(values, place, environment) ??
    customary(values, place, environment)
  );
}

/** The variable of the key itself, when it says the same in all that is not secret. */
function overriding(place: ConfigPlace, shown: unknown, environment: Environment): string | null {
  for (const { name, json } of variablesOf(place.join('.'))) {
    const value = json === undefined ? readSecret(environment, name)?.reveal() : undefined;
    if (value === undefined) continue;
    if (isOwnConnection(place) || masked(value).value === shown) return value;
  }
  return null;
}

export interface ListedEndpoint {
  readonly name: string;
  readonly base_url: string;
  readonly model: string;
  readonly api_key_env: string;
}

/** The endpoint that a place is the inline key of; null for any other place. */
export function endpointWithKey(values: unknown, place: ConfigPlace): ListedEndpoint | null {
  if (place.at(-1) !== 'api_key' || place.at(-3) !== 'endpoints') return null;
  const {
    name = '',
    base_url = '',
    model = '',
    api_key_env = '',
  } = valueAt(values, place.slice(0, -1)) as Partial<ListedEndpoint>;
  return { name, base_url, model, api_key_env };
}

/** The variables that may hold the key of an endpoint: the one that it names, else the custom of its host. */
export function endpointKeyVariable({ api_key_env, model, base_url }: ListedEndpoint): string | null {
  return api_key_env.trim() || customaryKeyVariable({ provider: '', model, base_url });
}

function endpointKey(values: unknown, place: ConfigPlace, environment: Environment): string | null {
  const endpoint = endpointWithKey(values, place);
  if (endpoint === null) return null;
  const variable = endpointKeyVariable(endpoint);
  const named = variable === null ? null : readSecret(environment, variable);
  return named?.reveal() ?? listedKey(endpoint, place, environment);
}

/** The key of the same endpoint in a list of endpoints that this environment holds. */
function listedKey(endpoint: ListedEndpoint, place: ConfigPlace, environment: Environment): string | null {
  for (const { name } of variablesOf(place.slice(0, -2).join('.'))) {
    const items = parsedList(environment[name] ?? '');
    const same = items.find(
      (item) => item['base_url'] === endpoint.base_url && (item['name'] ?? '') === endpoint.name,
    );
    const key = same?.['api_key'];
    if (typeof key === 'string' && key.trim() !== '') return key.trim();
  }
  return null;
}

function parsedList(text: string): Record<string, unknown>[] {
  try {
    const value: unknown = JSON.parse(text);
    if (!Array.isArray(value)) return [];
    return value.filter((item) => item !== null && typeof item === 'object');
  } catch {
    // A list that cannot be read has no key in it; whoever loads a configuration here is told of it.
    return [];
  }
}

/** What is meant for another program has the name there that the program knows it by. */
function customary(values: unknown, place: ConfigPlace, environment: Environment): string | null {
  const last = place.at(-1) ?? '';
  if (place.slice(0, -1).join('.') === 'llm.vllm.env') return environment[last] ?? null;
  const shown = valueAt(values, place);
  const [, joined, between] = /^(--[^=\s]+)([=\s])/.exec(typeof shown === 'string' ? shown : '') ?? [];
  const option =
    joined ?? (typeof last === 'number' ? valueAt(values, [...place.slice(0, -1), last - 1]) : last);
  const variable = typeof option === 'string' ? CUSTOMARY_VARIABLES[option] : undefined;
  const secret = variable === undefined ? null : readSecret(environment, variable);
  if (secret === null) return null;
  return joined === undefined ? secret.reveal() : `${joined}${between}${secret.reveal()}`;
}
