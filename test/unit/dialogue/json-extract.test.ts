import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cleanJson } from '../../../src/dialogue/clean-json.ts';
import { extractObjects } from '../../../src/dialogue/json-extract.ts';

const objects = (text: string) => extractObjects(text).objects;
const problems = (text: string) => extractObjects(text).problems.join('; ');

describe('finds the object in what models write (E16)', () => {
  const wanted = [{ a: 'x', b: [1, 2] }];
  const bare = '{"a": "x", "b": [1, 2]}';
  test.each([
    ['bare', bare],
    ['white space around', `\n  ${bare}\n`],
    ['fenced', `\`\`\`json\n${bare}\n\`\`\``],
    ['prose around', `Sure! Here it is:\n${bare}\nLet me know {if} you need [more].`],
    ['prose with braces before', `I fill in {the template} as asked. ${bare}`],
    ['reasoning before', `<think>maybe {"a": "draft", "b": []}?</think>${bare}`],
    ['reasoning after', `${bare}<thinking>was that right? {"a": 1}</thinking>`],
    ['reasoning without its opening tag', `{"a": "draft", "b": []} no, better</think>\n${bare}`],
    ['trailing commas', '{"a": "x", "b": [1, 2,],}'],
    ['single quotes', "{'a': 'x', 'b': [1, 2]}"],
    ['keys without quotes', '{a: "x", b: [1, 2]}'],
    ['a comment', '{"a": "x", /* two */ "b": [1, 2]}'],
  ])('%s', (_, text) => expect(objects(text)).toEqual(wanted));

  test('brackets and quotes inside texts do not confuse it', () => {
    const value = { a: 'a } and ] and { and \\ and "quoted" and it\'s' };
    expect(objects(`Answer: ${JSON.stringify(value)} done`)).toEqual([value]);
  });

  test('a raw line break inside a text is kept', () => {
    expect(objects('{"a": "one\ntwo"}')).toEqual([{ a: 'one\ntwo' }]);
  });

  test('several objects come in their order', () => {
    expect(objects('{"n": 1} then {"n": 2}\n{"n": 3}')).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
  });

  test('any object is found, whatever prose stands around it', () => {
    const prose = fc.string({ unit: fc.constantFrom(...'abc ,.:\n\t"\'()'.split('')) });
    const value = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }));
    fc.assert(
      fc.property(prose, value, prose, (before, object, after) => {
        const found = objects(`${before}${JSON.stringify(object)}${after}`);
        expect(found).toEqual([cleanJson(JSON.parse(JSON.stringify(object)))]);
      }),
    );
  });
});

describe('completes nothing and invents nothing', () => {
  const whole = JSON.stringify({ user_message: 'Why?', facts: [{ fact: 'a' }, { fact: 'b' }], notes: ['n'] });

  test('an object that was cut off anywhere is no object', () => {
    for (let length = 1; length < whole.length; length += 1) {
      expect(objects(whole.slice(0, length)), whole.slice(0, length)).toEqual([]);
    }
    expect(problems(whole.slice(0, -1))).toContain('cut off');
  });

  test('the inside of an object that was cut off does not count', () => {
    expect(objects('{"draft": {"score": 3}, "final": {"score": 8')).toEqual([]);
    expect(objects('[{"score": 3}, {"score": 8')).toEqual([]);
  });

  test('reasoning that was cut off hides what it thought of', () => {
    expect(objects('<think>perhaps {"score": 3} or')).toEqual([]);
    expect(problems('<think>perhaps {"score": 3} or')).toContain('cut off');
  });

  test('brackets of the wrong kind are not made to match', () => {
    expect(objects('{"a": [1, 2}')).toEqual([]);
  });

  test('an abbreviated object is refused', () => {
    expect(objects('{"a": [1, ...]}')).toEqual([]);
    expect(problems('{"a": [1, ...]}')).toContain('abbreviated');
  });

  test('arrays are refused', () => {
    expect(objects('[{"a": 1}]')).toEqual([]);
    expect(problems('[{"a": 1}]')).toContain('array');
  });

  test.each(['', 'no', '42', '"text"', 'null', '{', '}{'])('no object in %j', (text) => {
    expect(objects(text)).toEqual([]);
    expect(problems(text)).not.toBe('');
  });
});

describe('what is found can be stored', () => {
  test('A14: NaN and the infinities become null', () => {
    expect(objects('{"a": NaN, "b": [-Infinity, 1e999], "c": "NaN, Infinity"}')).toEqual([
      { a: null, b: [null, null], c: 'NaN, Infinity' },
    ]);
  });

  test('A6: lone surrogates become U+FFFD and U+0000 goes, in texts and keys', () => {
    expect(objects('{"a\\u0000": "x\\ud83dy", "\\udc00": "\\ud83d\\ude00"}')).toEqual([
      { a: 'x\ufffdy', '\ufffd': '😀' },
    ]);
  });

  test('a key that names a prototype is a plain key', () => {
    const [found] = objects('{"__proto__": {"polluted": true}}');
    expect(Object.keys(found ?? {})).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  test('hostile texts end quickly', () => {
    const hostile = [
      '{'.repeat(200_000),
      '{"a":'.repeat(100_000),
      `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
      '[{'.repeat(100_000),
      '"\\'.repeat(100_000),
      '<think></think>'.repeat(20_000),
    ];
    for (const text of hostile) {
      const start = performance.now();
      extractObjects(text);
      expect(performance.now() - start).toBeLessThan(1_000);
    }
  });

  test('no text makes it throw', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'{}[]"\'\\:,.aN1<>/think \n'.split('')) }), (text) => {
        extractObjects(text);
      }),
    );
  });
});
