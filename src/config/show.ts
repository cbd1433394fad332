import type { LoadedConfig } from './load.ts';
import { KEYS } from './keys.ts';
import { masked } from './masking.ts';
import type { Config } from './schema.ts';

export interface ConfigRow {
  readonly key: string;
  /** JSON value, secrets masked. */
  readonly value: unknown;
  readonly origin: string;
}

/** Every effective value and where it came from, in the order of the schema. */
export function configRows({ config, origins }: LoadedConfig): readonly ConfigRow[] {
  const shown = withoutSecrets(config);
  return [...KEYS.keys()].map((key) => ({
    key,
    value: valueAt(shown, key),
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
export const withoutSecrets = (config: Config): unknown => masked(config).value;

function valueAt(tree: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], tree);
}
