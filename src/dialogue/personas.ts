/** Personas: who asks and who answers (as in 0.1.0). */
import { z } from 'zod';
import { DlgforgeError } from '../kernel/errors.ts';
import { parseAsset } from './asset-schema.ts';
import type { AssetFile } from './prompt-assets.ts';

const persona = z.strictObject({
  id: z.string().trim().min(1, 'must not be empty'),
  name: z.string().default(''),
  traits: z.array(z.string()).default([]),
  style: z.string().default(''),
});
export type Persona = z.output<typeof persona>;

const pool = z
  .array(persona)
  .min(1, 'needs at least one persona; to do without, set personas.enabled: false');
const personaFile = z.strictObject({
  version: z.union([z.number(), z.string()]).optional(),
  personas: z.strictObject({ user: pool, assistant: pool }),
});

export interface PersonaPools {
  readonly user: readonly Persona[];
  readonly assistant: readonly Persona[];
}

/** @throws DlgforgeError `config` naming file and entry (G18). */
export function parsePersonas(file: AssetFile): PersonaPools {
  const { personas } = parseAsset(personaFile, file);
  for (const side of ['user', 'assistant'] as const) refuseRepeatedIds(file.file, side, personas[side]);
  return personas;
}

function refuseRepeatedIds(file: string, side: string, personas: readonly Persona[]): void {
  const seen = new Map<string, number>();
  for (const [index, { id }] of personas.entries()) {
    const first = seen.get(id);
    if (first !== undefined) {
      throw new DlgforgeError(
        'config',
        `${file}: personas.${side}[${index}].id: "${id}" is also the id of personas.${side}[${first}]; give each its own`,
      );
    }
    seen.set(id, index);
  }
}

/** `name | trait, trait | style`, without the parts that are empty. */
export function personaText({ name, traits, style }: Persona): string {
  const traitText = traits
    .map((trait) => trait.trim())
    .filter((trait) => trait !== '')
    .join(', ');
  return [name.trim(), traitText, style.trim()].filter((part) => part !== '').join(' | ');
}
