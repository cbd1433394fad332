import { distance } from 'fastest-levenshtein';
import type { z } from 'zod';
import { invariant } from '../kernel/errors.ts';
import { configSchema } from './schema.ts';
import { keyMeta, type KeyMeta } from './schema/fields.ts';

/** One key of the tree, as everything that works on all of them sees it. */
export interface KeyDefinition {
  /** `run.turns.min`. */
  readonly path: string;
  readonly schema: z.ZodType;
  readonly meta: KeyMeta;
}

export function metaOf(schema: z.ZodType, path: string): KeyMeta {
  const meta = keyMeta.get(schema);
  invariant(meta !== undefined, `the schema of ${path} is registered`);
  return meta;
}

/** The schema without defaults, null and transforms around it. */
function core(schema: z.ZodType): z.ZodType {
  let inner = schema;
  for (;;) {
    const definition = inner.def as { innerType?: z.ZodType; in?: z.ZodType };
    const next = definition.innerType ?? definition.in;
    if (next === undefined) return inner;
    inner = next;
  }
}

/** The keys of a section or of an item of a list of mappings. */
export function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> {
  return (core(schema) as z.ZodObject<Record<string, z.ZodType>>).shape;
}

/** The schema of one item. */
export const itemOf = (schema: z.ZodType): z.ZodType => (core(schema) as z.ZodArray<z.ZodType>).element;

export const isNullable = (schema: z.ZodType): boolean => schema.safeParse(null).success;

/** What the key is when nobody gives it. */
export const fallbackOf = (schema: z.ZodType): unknown => schema.safeParse(undefined).data;

function definitions(schema: z.ZodType, prefix: string): KeyDefinition[] {
  return Object.entries(shapeOf(schema)).flatMap(([name, inner]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const definition = { path, schema: inner, meta: metaOf(inner, path) };
    return definition.meta.kind === 'section' ? [definition, ...definitions(inner, path)] : [definition];
  });
}

/** Every section and key, parents first, in the order of the schema. */
export const ALL_KEYS: readonly KeyDefinition[] = definitions(configSchema, '');

/** The keys that hold values, by path. */
export const KEYS: ReadonlyMap<string, KeyDefinition> = new Map(
  ALL_KEYS.filter(({ meta }) => meta.kind !== 'section').map((key) => [key.path, key]),
);

export function keyDefinition(path: string): KeyDefinition {
  const key = KEYS.get(path);
  invariant(key !== undefined, `${path} is a key of the configuration`);
  return key;
}

const lastOf = (path: string): string => path.slice(path.lastIndexOf('.') + 1);

/** The candidate most like `wanted`, by the last part of its path; null when nothing is near. */
export function nearestOf(wanted: string, candidates: readonly string[]): string | null {
  const name = lastOf(wanted).toLowerCase();
  return closest(candidates, name, Math.max(2, Math.floor(name.length / 3)), lastOf);
}

function closest(
  candidates: readonly string[],
  wanted: string,
  limit: number,
  part: (path: string) => string,
): string | null {
  const ranked = candidates
    .map((path) => ({ path, far: distance(part(path).toLowerCase(), wanted) }))
    .filter(({ far, path }) => far <= limit && far < part(path).length)
    .sort((a, b) => a.far - b.far);
  return ranked[0]?.path ?? null;
}

/**
 * The key that a person most likely meant: a neighbour with a similar name, the same name elsewhere,
 * or a similar path. Null when nothing is near.
 */
export function nearest(path: string, siblings: readonly string[]): string | null {
  const name = lastOf(path).toLowerCase();
  const paths = ALL_KEYS.map((key) => key.path);
  return (
    nearestOf(path, siblings) ??
    paths.find((key) => lastOf(key) === name) ??
    closest(paths, path.toLowerCase(), Math.max(3, Math.floor(path.length / 4)), (key) => key)
  );
}
