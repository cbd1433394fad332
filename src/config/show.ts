import type { LoadedConfig } from './load.ts';
import { KEYS } from './keys.ts';
import type { Config } from './schema.ts';
import { Secret } from './secret.ts';

const MASK = '***';
const SECRET_NAME =
  /(?:^|[-_.])(?:api[-_]?key|key|token|secret|password|passwd|authorization|credentials?)$/i;

export interface ConfigRow {
  readonly key: string;
  /** JSON value, secrets masked. */
  readonly value: unknown;
  readonly origin: string;
}

/** Every effective value and where it came from, in the order of the schema. */
export function configRows({ config, origins }: LoadedConfig): readonly ConfigRow[] {
  return [...KEYS.keys()].map((key) => ({
    key,
    value: maskedValue(valueAt(config, key)),
    origin: origins[key] ?? 'default',
  }));
}

/** One line per key, aligned; `withOrigins` adds where the value came from. */
export function renderConfig(rows: readonly ConfigRow[], withOrigins: boolean): string {
  const texts = rows.map(({ value }) => JSON.stringify(value));
  const keyWidth = Math.max(...rows.map(({ key }) => key.length));
  const valueWidth = Math.min(40, Math.max(...texts.map((text) => text.length)));
  const lines = rows.map(({ key, origin }, index) => {
    const value = texts[index] ?? '';
    return `${key.padEnd(keyWidth)}  ${withOrigins ? `${value.padEnd(valueWidth)}  ${origin}` : value}`;
  });
  return `${lines.join('\n')}\n`;
}

/** The same for programs: `{"run.batch_size": {"value": 1, "origin": "default"}, …}`. */
export function renderConfigJson(rows: readonly ConfigRow[], withOrigins: boolean): string {
  const entries = rows.map(
    ({ key, value, origin }) => [key, withOrigins ? { value, origin } : value] as const,
  );
  return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
}

/** The configuration as plain JSON values that may be stored and shown (I8). */
export const withoutSecrets = (config: Config): unknown => maskedValue(config);

function valueAt(config: Config, path: string): unknown {
  return path.split('.').reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], config);
}

function maskedValue(value: unknown): unknown {
  if (value instanceof Secret) return value.toJSON();
  if (typeof value === 'string') return value.replace(/\/\/[^/\s@]*@/g, `//${MASK}@`);
  if (Array.isArray(value))
    return value.map((item, index) => (isSecretOption(value[index - 1]) ? MASK : maskedItem(item)));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, maskedField(name, inner)]));
}

/** Free mappings (`extra`, `env`) may hold keys under names of their own. */
const maskedField = (name: string, value: unknown): unknown =>
  typeof value === 'string' && value !== '' && SECRET_NAME.test(name) ? MASK : maskedValue(value);

const isSecretOption = (item: unknown): boolean =>
  typeof item === 'string' && item.startsWith('--') && !item.includes('=') && SECRET_NAME.test(item);

function maskedItem(item: unknown): unknown {
  const option = typeof item === 'string' ? /^(--[^=]+)=/.exec(item)?.[1] : undefined;
  return option !== undefined && SECRET_NAME.test(option) ? `${option}=${MASK}` : maskedValue(item);
}
