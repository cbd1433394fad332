import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { EXPORT_FORMATS } from '../../../src/config/schema/export-formats.ts';
import { COLUMN_FIELDS, type Field, type Leaf } from '../../../src/export/dataset/schema.ts';

const text = readFileSync(new URL('../../../docs/datasets.md', import.meta.url), 'utf8');

const TYPES: Readonly<Record<Leaf, string>> = {
  text: 'text',
  whole: 'whole number',
  number: 'number',
  truth: 'truth value',
};

function leaves(place: string, field: Field): [string, string][] {
  if (typeof field === 'string') return [[place, TYPES[field]]];
  if (field.kind === 'texts') return [[`${place}[]`, 'text']];
  if (field.kind === 'list') return leaves(`${place}[]`, field.item);
  return Object.entries(field.fields).flatMap(([name, inner]) => leaves(`${place}.${name}`, inner));
}

test('the table of the schema is the schema, in order', () => {
  const wanted = Object.entries(COLUMN_FIELDS).flatMap(([column, field]) => leaves(column, field));
  const [, section = ''] = /## Schema\n(.*?)\n## /s.exec(text) ?? [];
  const rows = [...section.matchAll(/^\| `([^`]+)` \| ([^|]+) \|/gm)].map(([, place, type]) => [place, type]);
  expect(rows).toEqual(wanted);
});

test('every format is described', () => {
  for (const format of EXPORT_FORMATS) expect(text).toContain(`| \`${format}\` |`);
});
