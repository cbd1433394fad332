import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { editItems, editMembers } from '../../../src/dialogue/json-edit.ts';
import { pythonJson, pythonJsonIndented } from '../../../src/dialogue/python-json.ts';

describe('editing JSON texts', () => {
  test('changes the value and nothing else, whatever Python wrote around it', () => {
    const text = '{"a": NaN, "b" :1.0,\n "c": {"b": "}\\"]\u2028"}, "d": -Infinity, "e": "\\ud800"} ';
    expect(editMembers(text, { b: () => '[2]' })).toBe(text.replace('1.0', '[2]'));
    expect(editMembers(text, { d: (old) => `"${old}"` })).toBe(text.replace('-Infinity', '"-Infinity"'));
    expect(editMembers(text, { c: () => undefined, z: () => undefined })).toBe(text);
    expect(editMembers(text, { c: (old) => editMembers(old ?? '', { b: () => '0' }) })).toBe(
      text.replace('"}\\"]\u2028"', '0'),
    );
  });

  test('adds what is missing at the end, in the style of the text', () => {
    expect(editMembers('{}', { a: () => '1', b: () => '2' })).toBe('{"a": 1, "b": 2}');
    expect(editMembers('{"x": 1}', { a: () => '1' })).toBe('{"x": 1, "a": 1}');
    expect(editMembers('{"w": 0, "x": 1}', { x: () => '5', a: () => '1' })).toBe('{"w": 0, "x": 5, "a": 1}');
    expect(editMembers('{\n  "w": 0,\n  "x": 1\n}', { a: () => '1' })).toBe(
      '{\n  "w": 0,\n  "x": 1,\n  "a": 1\n}',
    );
    expect(editMembers('{\n  "x": 1\n}', { a: () => '1' })).toBe('{\n  "x": 1,\n  "a": 1\n}');
  });

  test('edits items by position', () => {
    expect(editItems('[ 1,[2, 3] , {"a": "]"}]', (item, index) => (index === 1 ? '"x"' : item))).toBe(
      '[ 1,"x" , {"a": "]"}]',
    );
    expect(editItems('[]', () => 'x')).toBe('[]');
    expect(editItems('null', () => 'x')).toBe('null');
  });

  test('a whole object edited is the object with the value, in one line and indented', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        fc.string(),
        fc.jsonValue(),
        (object, key, value) => {
          fc.pre(key !== '__proto__' && !Object.hasOwn(object, '__proto__'));
          const wanted = { ...object, [key]: value };
          for (const text of [pythonJson(object), pythonJsonIndented(object)]) {
            const once = editMembers(text, { [key]: () => pythonJson(value) });
            expect(JSON.parse(once)).toEqual(JSON.parse(pythonJson(wanted)));
            expect(editMembers(once, { [key]: () => pythonJson(value) })).toBe(once);
            for (const own of Object.keys(object))
              expect(editMembers(text, { [own]: (old) => old })).toBe(text);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('ends on anything', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from('{}[]",:\\ a1\n')) }), (text) => {
        expect(typeof editMembers(text, { a: () => '1' })).toBe('string');
        expect(typeof editItems(text, (item) => item)).toBe('string');
      }),
      { numRuns: 500 },
    );
  });
});
