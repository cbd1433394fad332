import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  Float,
  parsePythonJson,
  pythonJson,
  pythonJsonIndented,
  pythonText,
} from '../../../src/dialogue/python-json.ts';

describe('JSON as Python writes it', () => {
  test('separators, raw non-ASCII, escapes', () => {
    expect(pythonJson({ a: [1, 'é\u2028\u007f', true, null], 'b"': { c: 'x\n\u0001' } })).toBe(
      '{"a": [1, "é\u2028\u007f", true, null], "b\\"": {"c": "x\\n\\u0001"}}',
    );
  });

  test('indented by two, empty containers closed, no newline at the end', () => {
    expect(pythonJsonIndented({ a: [], b: {}, c: [1, { d: 'x' }] })).toBe(
      '{\n  "a": [],\n  "b": {},\n  "c": [\n    1,\n    {\n      "d": "x"\n    }\n  ]\n}',
    );
  });

  // The right-hand sides are what CPython 3.11 prints.
  test.each([
    [1, '1.0'],
    [0, '0.0'],
    [-0, '-0.0'],
    [0.1, '0.1'],
    [7.25, '7.25'],
    [1e15, '1000000000000000.0'],
    [1e16, '1e+16'],
    [1.5e300, '1.5e+300'],
    [0.0001, '0.0001'],
    [0.00001, '1e-05'],
    [-1.25e-7, '-1.25e-07'],
    [123456.789, '123456.789'],
    [5e-324, '5e-324'],
  ])('the float %d is %s', (value, text) => {
    expect(pythonJson(new Float(value))).toBe(text);
  });

  test('whole numbers are integers, other numbers floats', () => {
    expect(pythonJson([1, -3, 0.5, 2 ** 53])).toBe('[1, -3, 0.5, 9007199254740992.0]');
  });

  test('A14 NaN and the infinities are null, in lines and in files', () => {
    expect(pythonJson([Number.NaN, Infinity, -Infinity, new Float(Number.NaN)])).toBe(
      '[null, null, null, null]',
    );
    expect(pythonJsonIndented({ a: Number.NaN })).toBe('{\n  "a": null\n}');
  });

  test('A6 half a surrogate pair is an escape, so the text is always UTF-8', () => {
    const text = pythonJson({ '\ud83d': 'ok \udc00 😀' });
    expect(text).toBe('{"\\ud83d": "ok \\udc00 😀"}');
    expect(Buffer.from(text).toString('utf8')).toBe(text);
  });

  test('what is written reads back', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const plain = JSON.parse(JSON.stringify(value)) as unknown;
        expect(JSON.parse(pythonJson(value))).toEqual(plain);
        expect(JSON.parse(pythonJsonIndented(value))).toEqual(plain);
      }),
      { numRuns: 40 },
    );
  });
});

test('A14 constants that Python lets through are read as null, texts stay', () => {
  expect(parsePythonJson('{"a": NaN, "b": [-Infinity, Infinity, 1], "c": "NaN \\" -Infinity"}')).toEqual({
    a: null,
    b: [null, null, 1],
    c: 'NaN " -Infinity',
  });
  expect(() => parsePythonJson('{"a": nope}')).toThrow(SyntaxError);
});

// The right-hand sides are what CPython 3.11 prints.
test.each([
  [null, ''],
  ['as it is', 'as it is'],
  [true, 'True'],
  [3, '3'],
  [0.5, '0.5'],
  [[1, null, 'a'], "[1, None, 'a']"],
  [{ a: { b: false } }, "{'a': {'b': False}}"],
  [["it's"], `["it's"]`],
  [[`it's "so"`], `['it\\'s "so"']`],
  [['\\ \n \u00a0 \u200b é'], "['\\\\ \\n \\xa0 \\u200b é']"],
])('the text of %j is %s', (value, text) => {
  expect(pythonText(value)).toBe(text);
});
