/** A configuration as it is stored for other nodes: whole, but for its secrets (I8). */
import { z } from 'zod';
import { type Credentials, serperKey } from './credentials.ts';
import type { LoadedConfig } from './load.ts';
import { masked } from './masking.ts';
import { AGENT_ROLES } from './schema.ts';

const placeSchema = z.array(z.union([z.string(), z.int().nonnegative()]));

export const storedConfigSchema = z.object({
  /** As `config show` prints it; what stands masked here is at the places of `withheld`. */
  values: z.unknown(),
  withheld: z.array(placeSchema),
  /** The names of the variables in which the submitter found the key of each role. */
  keyVariables: z.record(z.enum(AGENT_ROLES), z.string().nullable()),
  /** Whether the submitter had a key for web search; without one its searches fail everywhere. */
  hasSearchKey: z.boolean(),
});

export type StoredConfig = z.infer<typeof storedConfigSchema>;

export function storedConfig(
  { config, environment }: Pick<LoadedConfig, 'config' | 'environment'>,
  keyVariables: Credentials['variables'],
): StoredConfig {
  const { value, places } = masked(config);
  return {
    values: value,
    withheld: places.map((place) => [...place]),
    keyVariables: { ...keyVariables },
    hasSearchKey: serperKey(environment) !== null,
  };
}
