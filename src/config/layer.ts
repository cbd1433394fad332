import { invariant } from '../kernel/errors.ts';
import { coerce } from './coerce.ts';
import { ALL_KEYS, KEYS, nearest, shapeOf, metaOf, type KeyDefinition } from './keys.ts';
import type { Findings } from './problem.ts';
import { configSchema } from './schema.ts';
import { isNull, shownValue, type MapNode, type Origin, type SourceNode } from './source.ts';

export interface Assignment {
  readonly value: unknown;
  readonly origin: Origin;
}

/** What one source (file, environment, flags) says, by key path. Layers are laid over each other. */
export class Layer {
  readonly assignments = new Map<string, Assignment>();

  set(key: string, value: unknown, origin: Origin): void {
    invariant(KEYS.has(key), `${key} is a key of the configuration`);
    this.assignments.set(key, { value, origin });
  }

  get(key: string): Assignment | undefined {
    return this.assignments.get(key);
  }
}

/** The value of one key as the schema wants it; undefined when it says nothing or is off (and reported). */
export function readKey({ path, schema }: KeyDefinition, node: SourceNode, findings: Findings): unknown {
  return coerce(schema, path, node, findings);
}

/** Reads a whole tree. Sections and keys without a value count as absent. */
export function readTree(root: MapNode, findings: Findings): Layer {
  const layer = new Layer();
  readSection('', configSchema, root, layer, findings);
  return layer;
}

function readSection(
  prefix: string,
  schema: Parameters<typeof shapeOf>[0],
  node: SourceNode,
  layer: Layer,
  findings: Findings,
): void {
  if (isNull(node)) return;
  if (node.type !== 'map') {
    findings.problem(node.origin, `\`${prefix}\` must be a section.`, {
      keyPath: prefix,
      value: shownValue(node),
      hint: `Write its keys below it: ${keysBelow(prefix)}.`,
    });
    return;
  }
  const shape = shapeOf(schema);
  for (const [name, inner] of node.entries) {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const innerSchema = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (innerSchema === undefined) reportUnknown(path, inner.origin, Object.keys(shape), findings);
    else if (metaOf(innerSchema, path).kind === 'section')
      readSection(path, innerSchema, inner, layer, findings);
    else {
      const value = coerce(innerSchema, path, inner, findings);
      if (value !== undefined) layer.set(path, value, inner.origin);
    }
  }
}

export function reportUnknown(
  path: string,
  origin: Origin,
  siblings: readonly string[],
  findings: Findings,
): void {
  const parent = path.includes('.') ? path.slice(0, path.lastIndexOf('.')) : '';
  const near = nearest(
    path,
    siblings.map((name) => (parent === '' ? name : `${parent}.${name}`)),
  );
  findings.problem(origin, `Unknown key \`${path}\`.`, {
    keyPath: path,
    hint: unknownHint(path, near, siblings),
  });
}

function unknownHint(path: string, near: string | null, siblings: readonly string[]): string {
  if (near === null) return `Keys here: ${siblings.join(', ')}.`;
  return near === path
    ? `Write it as sections: \`${path.split('.').join(': {')}: …${'}'.repeat(path.split('.').length - 1)}\`.`
    : `Did you mean \`${near}\`?`;
}

const keysBelow = (prefix: string): string =>
  ALL_KEYS.filter(({ path }) => path.startsWith(`${prefix}.`) && !path.slice(prefix.length + 1).includes('.'))
    .map(({ path }) => path.slice(prefix.length + 1))
    .join(', ');
