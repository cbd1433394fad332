import type { z } from 'zod';
import { readScalar } from './coerce-scalar.ts';
import { itemOf, metaOf, nearest, shapeOf } from './keys.ts';
import type { Findings } from './problem.ts';
import type { KeyMeta } from './schema/fields.ts';
import { isNull, shownValue, textNode, type MapNode, type SourceNode } from './source.ts';
import { readFree, reportInterpolation } from './yaml-surprises.ts';

/**
 * Reads `node` as the key's schema wants it: text from the environment, quoted numbers and truth
 * values, one text for a list. Undefined when the node says nothing, or is off: then it is reported.
 */
export function coerce(schema: z.ZodType, path: string, node: SourceNode, findings: Findings): unknown {
  if (isNull(node)) return undefined;
  const meta = metaOf(schema, path);
  const before = findings.problems.length;
  const value = readKind(schema, meta, path, node, findings);
  if (value === undefined || findings.problems.length > before) return undefined;
  if (schema.safeParse(value).success) return value;
  refuse(meta, path, node, findings, meta.rule ?? `must be ${meta.type}.`);
  return undefined;
}

function readKind(
  schema: z.ZodType,
  meta: KeyMeta,
  path: string,
  node: SourceNode,
  findings: Findings,
): unknown {
  switch (meta.kind) {
    case 'texts':
      return readTexts(meta, path, node, findings);
    case 'objects':
      return readObjects(schema, meta, path, node, findings);
    case 'mapping':
    case 'texts_by_name':
      return readMapping(meta, path, node, findings);
    default:
      if (node.type === 'scalar') return readScalar(meta, path, node, findings);
      return refuse(
        meta,
        path,
        node,
        findings,
        meta.kind === 'text' ? 'must be text.' : `must be ${meta.type}.`,
      );
  }
}

function refuse(meta: KeyMeta, path: string, node: SourceNode, findings: Findings, rule: string): undefined {
  findings.problem(node.origin, `\`${path}\` ${rule}`, {
    keyPath: path,
    value: meta.secret === true ? null : shownValue(node),
  });
}

function readTexts(meta: KeyMeta, path: string, node: SourceNode, findings: Findings): unknown {
  if (node.type === 'map') return refuse(meta, path, node, findings, `must be a ${meta.type}.`);
  if (node.type === 'scalar' && meta.commaSeparated !== true && typeof node.value === 'string') {
    return refuse(meta, path, node, findings, 'must be a list, one item per line after a dash.');
  }
  const items = node.type === 'list' ? node.items : splitCommas(node);
  const itemMeta: KeyMeta = { ...meta, kind: 'text' };
  const values = items.map((item, index) => {
    if (isNull(item)) return undefined;
    const itemPath = node.type === 'list' ? `${path}[${index}]` : path;
    return item.type === 'scalar'
      ? readScalar(itemMeta, itemPath, item, findings)
      : refuse(meta, itemPath, item, findings, 'must be text.');
  });
  const texts = values.filter((value): value is string => typeof value === 'string');
  return meta.commaSeparated === true
    ? [...new Set(texts.map((text) => text.trim()).filter((text) => text !== ''))]
    : texts;
}

function splitCommas(node: SourceNode): readonly SourceNode[] {
  if (node.type !== 'scalar' || typeof node.value !== 'string' || !node.text.includes(',')) return [node];
  return node.text.split(',').map((part) => textNode(part, node.origin));
}

function readObjects(
  schema: z.ZodType,
  meta: KeyMeta,
  path: string,
  node: SourceNode,
  findings: Findings,
): unknown {
  if (node.type === 'map')
    return refuse({ ...meta, secret: true }, path, node, findings, `must be a ${meta.type}.`);
  const items = node.type === 'list' ? node.items : [node];
  return items
    .map((item, index) => readItem(itemOf(schema), meta, `${path}[${index}]`, item, findings))
    .filter((item) => item !== undefined);
}

function readItem(
  schema: z.ZodType,
  meta: KeyMeta,
  path: string,
  node: SourceNode,
  findings: Findings,
): unknown {
  if (isNull(node)) return undefined;
  if (node.type === 'map') return readFields(schema, path, node, findings);
  if (node.type === 'scalar' && meta.itemFromText !== undefined) {
    return readFields(
      schema,
      path,
      { type: 'map', entries: new Map([[meta.itemFromText, node]]), origin: node.origin },
      findings,
    );
  }
  return refuse({ ...meta, secret: true }, path, node, findings, 'must be a mapping.');
}

function readFields(
  schema: z.ZodType,
  path: string,
  node: MapNode,
  findings: Findings,
): Record<string, unknown> {
  const shape = shapeOf(schema);
  const value: Record<string, unknown> = {};
  for (const [written, inner] of node.entries) {
    const name = written === 'timeout_s' ? 'timeout' : written;
    const field = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (field === undefined) reportUnknownField(`${path}.${written}`, inner, Object.keys(shape), findings);
    else if (name !== written && node.entries.has(name)) {
      findings.problem(inner.origin, `\`${path}\` has both \`${name}\` and \`${written}\`.`, {
        keyPath: path,
        hint: `Keep \`${name}\`.`,
      });
    } else {
      const read = coerce(field, `${path}.${name}`, inner, findings);
      if (read !== undefined) value[name] = read;
    }
  }
  for (const [name, field] of Object.entries(shape)) {
    const given = node.entries.get(name);
    if ((given !== undefined && !isNull(given)) || field.safeParse(undefined).success) continue;
    findings.problem(node.origin, `\`${path}.${name}\` is missing.`, { keyPath: `${path}.${name}` });
  }
  return value;
}

function reportUnknownField(
  path: string,
  node: SourceNode,
  siblings: readonly string[],
  findings: Findings,
): void {
  const parent = path.slice(0, path.lastIndexOf('.'));
  const near = nearest(
    path,
    siblings.map((name) => `${parent}.${name}`),
  );
  const hint =
    near?.startsWith(`${parent}.`) === true
      ? `Did you mean \`${near}\`?`
      : `Fields here: ${siblings.join(', ')}.`;
  findings.problem(node.origin, `Unknown key \`${path}\`.`, { keyPath: path, hint });
}

function readMapping(meta: KeyMeta, path: string, node: SourceNode, findings: Findings): unknown {
  if (node.type !== 'map') return refuse(meta, path, node, findings, 'must be a mapping of names to values.');
  if (meta.kind === 'mapping') return readFree(path, node, findings);
  const values: Record<string, string> = {};
  for (const [name, inner] of node.entries) {
    const inPath = `${path}.${name}`;
    if (isNull(inner)) continue;
    if (inner.type !== 'scalar') refuse(meta, inPath, inner, findings, 'must be text.');
    else {
      reportInterpolation(meta, inPath, inner, findings);
      values[name] = inner.text;
    }
  }
  return values;
}
