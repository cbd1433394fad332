import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { pythonYaml, type YamlMapping, type YamlValue } from '../../../src/dialogue/python-yaml.ts';

/** Mappings are lists of pairs in the fixture, so that their order is what it says. */
type Encoded = string | number | readonly string[] | { readonly m: readonly (readonly [string, Encoded])[] };

const decoded = (value: Encoded): YamlValue =>
  typeof value === 'object' && 'm' in value ? mapping(value) : value;
const mapping = (value: Encoded): YamlMapping =>
  new Map((value as { m: readonly [string, Encoded][] }).m.map(([key, inner]) => [key, decoded(inner)]));

/** Made by PyYAML 6.0.3: `yaml.safe_dump(value, allow_unicode=True, sort_keys=False)`. */
const golden = readFileSync(new URL('../../support/golden/pyyaml.jsonl', import.meta.url), 'utf8')
  .split('\n')
  .filter(Boolean)
  .map((line) => JSON.parse(line) as [Encoded, string]);

test('texts are written byte for byte as PyYAML writes them', () => {
  expect(golden.length).toBeGreaterThan(100);
  for (const [value, text] of golden) expect(pythonYaml(mapping(value))).toBe(text);
});

test('what is written is read again as it was', () => {
  const words = fc.constantFrom('word', "it's", '"so"', 'x:', '#y', 'ما', '😀', '', '\t');
  const text = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 200 }),
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.array(words, { maxLength: 60 }).map((some) => some.join(' ')),
  );
  // YAML 1.2 knows no line breaks besides these, and the parser at hand reads 1.1 the same way.
  const usual = text.filter((some) => !/[\u0085\u2028\u2029]/.test(some));
  fc.assert(
    fc.property(fc.array(usual, { minLength: 1, maxLength: 5 }), (texts) => {
      const written = pythonYaml(new Map([['questions', texts]]));
      expect(parse(written, { schema: 'failsafe' })).toEqual({ questions: texts });
    }),
    { numRuns: 300 },
  );
});

test('an empty mapping is a document too', () => expect(pythonYaml(new Map())).toBe('{}\n'));
