import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const root = new URL('../../../', import.meta.url);
const text = readFileSync(new URL('docs/decisions/faults-of-0.1.0.md', root), 'utf8');
const rows = [...text.matchAll(/^\| ([A-J]\d+) \| (.*) \| (.*) \| (.*) \|$/gm)].map(
  ([, number = '', was = '', now = '', tests = '']) => ({
    number,
    was,
    now,
    tests: [...tests.matchAll(/`([^`]+)`/g)].map(([, file = '']) => file),
  }),
);

const LISTED = { A: 16, B: 14, C: 18, D: 16, E: 19, F: 12, G: 18, H: 16, I: 11, J: 5 };

test('the table of faults has every number once, in order', () => {
  const expected = Object.entries(LISTED).flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, i) => `${letter}${i + 1}`),
  );
  expect(rows.map((row) => row.number)).toEqual(expected);
});

test.each(rows.filter((row) => row.tests.length > 0))(
  'the tests named for $number carry the number',
  ({ number, tests }) => {
    for (const file of tests) {
      const url = new URL(`test/${file}`, root);
      expect(existsSync(url), file).toBe(true);
      const isNamed = new RegExp(`['"\`(\\s]${number}\\b`).test(readFileSync(url, 'utf8'));
      expect(isNamed, `${file} has a test of ${number}`).toBe(true);
    }
  },
);

test('what has no test says which later part it belongs to', () => {
  for (const { now } of rows.filter((row) => row.tests.length === 0))
    expect(now).toMatch(/^left to the (?:(?:judge|push) command|managed vLLM backend)$/);
});
