import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { pythonJson, pythonJsonIndented } from '../../../src/dialogue/python-json.ts';
import { JsonBytes } from '../../../src/export/json-bytes.ts';

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  // Long enough to be remembered, of characters of every length in UTF-8, and of half a pair.
  fc.stringMatching(/^[a"\\\n\u00e9\u2028\u4e2d\ud83d]{190,260}$/),
);
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 4 },
    text,
    fc.double(),
    fc.constantFrom(null, true, undefined),
    fc.array(tie('any'), { maxLength: 3 }),
    fc.dictionary(text, tie('any'), { maxKeys: 3 }),
  ),
})).any;

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

test('gives the bytes of the text, whatever was written before', () => {
  fc.assert(
    fc.property(fc.array(fc.dictionary(text, value, { maxKeys: 3 }), { maxLength: 3 }), (rows) => {
      const json = new JsonBytes();
      for (const row of [...rows, ...rows]) {
        expect(textOf(json.line(row))).toBe(pythonJson(row));
        expect(textOf(json.indented(row))).toBe(pythonJsonIndented(row));
      }
    }),
  );
});

test('what was given out stays when more is written', () => {
  const json = new JsonBytes();
  const row = { text: 'é"'.repeat(50_000) };
  const first = json.line(row);
  json.line({ other: 'x'.repeat(300_000) });
  expect(textOf(first)).toBe(pythonJson(row));
});
