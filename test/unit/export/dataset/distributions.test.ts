import { expect, test } from 'vitest';
import {
  halfToEven,
  NameTally,
  rounded,
  ScoreTally,
  Tally,
} from '../../../../src/export/dataset/distributions.ts';
import {
  QuestionVariety,
  tokensOf,
  WordVariety,
  wordsOf,
} from '../../../../src/export/dataset/text-measures.ts';

const tallyOf = (values: readonly number[]): Tally => {
  const tally = new Tally();
  for (const value of values) tally.add(value);
  return tally;
};

test('numbers are rounded to 4 digits, exact halves to the even neighbour', () => {
  expect([0.03125, 0.09375, 2 / 3, 2, 1234.56785, -0.03125].map(rounded)).toEqual([
    0.0312, 0.0938, 0.6667, 2, 1234.5678, -0.0312,
  ]);
  expect([4.5, 5.5, 6.5, 2.4999].map(halfToEven)).toEqual([4, 6, 6, 2]);
});

test('scores fall into whole buckets, halves to the even one, ascending, only those with any', () => {
  const scores = new ScoreTally();
  for (const score of [6.5, 4.5, 5.5, 10]) scores.add(score);
  expect(JSON.stringify(scores.distribution())).toBe('{"4":1,"6":2,"10":1}');
  expect(scores.mean).toBe(6.625);
  expect([new ScoreTally().mean, new ScoreTally().distribution()]).toEqual([null, {}]);
});

test('a histogram has up to 12 bins from the smallest value on, empty ones left out, the last cut', () => {
  expect(JSON.stringify(tallyOf([100, 1, 2, 50, 3]).histogram())).toBe('{"1-9":3,"46-54":1,"100-100":1}');
  expect(tallyOf([7, 7]).histogram()).toEqual({ '7-7': 2 });
  expect(tallyOf([]).histogram()).toEqual({});
  expect(JSON.stringify(tallyOf([1, 2, 3]).histogram())).toBe('{"1-1":1,"2-2":1,"3-3":1}');
});

test('a tally knows its ends, its mean and its distribution', () => {
  const tally = tallyOf([3, 1, 3]);
  expect([tally.min, tally.max, tally.mean, tally.sum]).toEqual([1, 3, 2.3333, 7]);
  expect(JSON.stringify(tally.distribution())).toBe('{"1":1,"3":2}');
  expect([tallyOf([]).min, tallyOf([]).max, tallyOf([]).mean]).toEqual([null, null, null]);
});

test('names have counts and shares, in order', () => {
  const names = new NameTally();
  for (const name of ['b', 'a', 'b']) names.add(name);
  expect(JSON.stringify(names.shares())).toBe(
    '{"a":{"count":1,"share":0.3333},"b":{"count":2,"share":0.6667}}',
  );
});

test('words end at what Python takes for white space; tokens are a quarter of the characters', () => {
  expect(wordsOf(' a\u2028b\u0085c\u00a0d  e\u001cf ')).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
  expect(wordsOf(' \n')).toEqual([]);
  expect(['', '  ', 'abcd', 'abcde', ' abcd\u2028', '😀😀😀😀'].map(tokensOf)).toEqual([0, 0, 1, 2, 1, 1]);
});

test('variety: distinct words and neighbours over all of them, not over the ends of messages', () => {
  const variety = new WordVariety();
  variety.add(['A', 'b', 'a', 'b']);
  variety.add(['c']);
  expect([variety.distinct1, variety.distinct2, variety.words]).toEqual([0.6, 0.6667, 5]);
  expect(new WordVariety().distinct1).toBeNull();
});

test('questions are the same when their keys are', () => {
  const questions = new QuestionVariety();
  for (const question of ['Who is it?', 'who  is it', 'Why?']) questions.add(question);
  expect(questions.figures).toEqual({ total: 3, compared: 3, unique: 2, unique_share: 0.6667 });
});
