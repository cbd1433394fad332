import { describe, expect, test } from 'vitest';
import { type DatasetStats, StatsCollector } from '../../../../src/export/dataset/dataset-stats.ts';
import { drawPlots, plotTitle } from '../../../../src/export/dataset/plots.ts';

const EMPTY = new StatsCollector().stats({ sourceFile: 'x.jsonl', coverage: null, usage: null });

const language = (records: number, avg_score_mean: number | null): DatasetStats['by_language'][string] => ({
  records,
  turns: 2 * records,
  avg_turns: 2,
  passages_used: records === 700 ? 6 : 0,
  avg_score_mean,
  per_turn_score_mean: avg_score_mean,
  conversation_score_mean: null,
  avg_score_distribution: {},
  avg_words_per_message: null,
  unique_question_share: null,
  distinct_1: null,
  distinct_2: null,
  distinct_words_compared: 0,
});

const STATS: DatasetStats = {
  ...EMPTY,
  turn_count: { ...EMPTY.turn_count, distribution: { 1: 5, 3: 1043 } },
  judge: { ...EMPTY.judge, avg_score_mean: 7.5, avg_score_distribution: { 7: 10, 8: 12 } },
  text: {
    ...EMPTY.text,
    word_count_distribution: { '1-9': 3, '100-100': 1 },
    token_estimate_distribution: { '4-12': 4 },
  },
  coverage: {
    passages_used: 8,
    passages_known: 32,
    passage_share: 0.25,
    documents_used: 2,
    documents_known: 2,
    document_share: 1,
  },
  by_language: { english: language(700, 7.914), العربية: language(300, null) },
};

/** The texts of a plot, in the order in which they are drawn. */
const textsOf = (svg: string | undefined): string[] =>
  [...(svg ?? '').matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map((match) => match[1] ?? '');

describe('drawPlots', () => {
  test('draws the documented files, and coverage, conversations and scores by language', async () => {
    const plots = await drawPlots(STATS);
    expect([...plots.keys()]).toEqual([
      'turn_count_distribution.svg',
      'judge_avg_score_distribution.svg',
      'word_count_distribution.svg',
      'token_estimate_distribution.svg',
      'document_coverage.svg',
      'coverage_by_language.svg',
      'conversations_by_language.svg',
      'score_by_language.svg',
    ]);
    for (const [file, svg] of plots) {
      expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
      expect(textsOf(svg)).toContain(plotTitle(file));
    }
    expect(plotTitle('turn_count_distribution.svg')).toBe('Turn Count Distribution');
    expect(plotTitle('judge_avg_score_distribution.svg')).toBe('Judge Avg Score Distribution');
    expect(plotTitle('word_count_distribution.svg')).toBe('Word Count Distribution');
    expect(plotTitle('token_estimate_distribution.svg')).toBe('Token Estimate Distribution');
  });

  test('every bar has its label and its number, every axis its title', async () => {
    const plots = await drawPlots(STATS);
    const of = (file: string): string[] => textsOf(plots.get(file));
    expect(of('turn_count_distribution.svg')).toEqual(
      expect.arrayContaining(['1', '5', '3', '1,043', 'conversations', 'turns of a conversation']),
    );
    expect(of('word_count_distribution.svg')).toEqual(expect.arrayContaining(['1-9', '100-100']));
    expect(of('document_coverage.svg')).toEqual(
      expect.arrayContaining(['documents', '100.0 % of 2', 'passages', '25.0 % of 32']),
    );
    expect(of('coverage_by_language.svg')).toEqual(expect.arrayContaining(['english', '6 of 32']));
    expect(of('coverage_by_language.svg')).not.toContain('العربية');
    expect(of('conversations_by_language.svg')).toEqual(
      expect.arrayContaining(['english', '700 (1,400 turns)', 'العربية', '300 (600 turns)']),
    );
    const scores = of('score_by_language.svg');
    expect(scores).toEqual(
      expect.arrayContaining(['english', '7.91', 'mean of the average turn scores, 0 to 10']),
    );
    expect(scores).not.toContain('العربية');
  });

  test('the same statistics give the same bytes, whatever was drawn before', async () => {
    const first = await drawPlots(STATS);
    await drawPlots({ ...STATS, turn_count: { ...STATS.turn_count, distribution: { 9: 1 } } });
    expect([...(await drawPlots(STATS))]).toEqual([...first]);
  });

  test('what is empty is left out; an empty dataset has no plots', async () => {
    expect([...(await drawPlots(EMPTY)).keys()]).toEqual([]);
    const some = { ...EMPTY, turn_count: { ...EMPTY.turn_count, distribution: { 2: 1 } } };
    expect([...(await drawPlots(some)).keys()]).toEqual(['turn_count_distribution.svg']);
  });

  test('coverage without an index to compare with is left out', async () => {
    const coverage = {
      passages_used: 8,
      passages_known: null,
      passage_share: null,
      documents_used: 2,
      documents_known: null,
      document_share: null,
    };
    expect([...(await drawPlots({ ...EMPTY, coverage })).keys()]).toEqual([]);
  });

  test('labels of any text: what XML cannot hold goes, long ones are shortened, equal ones stay two bars', async () => {
    const long = 'a very long name of a language that nobody would ever read to its end';
    const plots = await drawPlots({
      ...EMPTY,
      by_language: {
        '<b>&"\u0001\uD800': language(3, null),
        [`${long} one`]: language(2, null),
        [`${long} two`]: language(1, null),
      },
    });
    const svg = plots.get('conversations_by_language.svg') ?? '';
    expect(svg).toContain('&lt;b&gt;&amp;');
    expect(svg).not.toMatch(/(?!\n)\p{Cc}|\p{Cs}/u);
    const shortened = textsOf(svg).filter((text) => text.endsWith('…'));
    expect(shortened).toHaveLength(2);
    expect(new Set(shortened).size).toBe(1);
    expect(textsOf(svg)).toEqual(expect.arrayContaining(['3 (6 turns)', '2 (4 turns)', '1 (2 turns)']));
  });

  test('of many languages the largest are shown, and how many there are', async () => {
    const by_language = Object.fromEntries(
      Array.from({ length: 120 }, (_, index) => [`language ${index}`, language(index + 1, 5)]),
    );
    const plots = await drawPlots({ ...EMPTY, judge: { ...EMPTY.judge, avg_score_mean: 5 }, by_language });
    const texts = textsOf(plots.get('conversations_by_language.svg'));
    expect(texts).toContain('the 40 largest of 120 languages');
    expect(texts).toContain('language 119');
    expect(texts.filter((text) => text.startsWith('language '))).toHaveLength(40);
  });

  test('I3: with verdicts of conversations alone, these are drawn by language, and no average of turns', async () => {
    const plots = await drawPlots({
      ...EMPTY,
      judge: { ...EMPTY.judge, conversation_score_mean: 6 },
      by_language: { english: { ...language(2, null), conversation_score_mean: 6 } },
    });
    expect([...plots.keys()]).toEqual(['conversations_by_language.svg', 'score_by_language.svg']);
    expect(textsOf(plots.get('score_by_language.svg'))).toContain('mean of the conversation scores, 0 to 10');
  });
});
