import { expect, test } from 'vitest';
import { coverageStats, StatsCollector, statsFile } from '../../../../src/export/dataset/dataset-stats.ts';
import { sanitiseRow } from '../../../../src/export/dataset/sanitise.ts';

const statsOf = (rows: readonly object[]) => {
  const collector = new StatsCollector();
  for (const row of rows) collector.add(sanitiseRow({ known: row, unknown: {} }).row);
  return collector.stats({ sourceFile: 'x.jsonl', coverage: null, usage: null });
};

test('I3: a conversation score feeds its own figures and not the average of the turn scores', () => {
  const { judge } = statsOf([
    { judge: { avg_score: null, per_turn: [], conversation: { score: 3 } } },
    { judge: { avg_score: 8, per_turn: [{ score: 8 }], conversation: {} } },
  ]);
  expect(judge).toEqual({
    conversations_with_scores: 2,
    avg_score_mean: 8,
    avg_score_distribution: { '8': 1 },
    per_turn_score_mean: 8,
    per_turn_score_distribution: { '8': 1 },
    conversation_score_mean: 3,
    conversation_score_distribution: { '3': 1 },
  });
});

test('J2: a score is a number from 0 to 10, also written as text; a truth value and 99 are none', () => {
  const { judge } = statsOf([
    { judge: { per_turn: [{ score: '8' }, { score: true }, { score: 99 }, { score: 4.5 }] } },
    { judge: { avg_score: true } },
  ]);
  expect(judge.conversations_with_scores).toBe(1);
  expect(judge.per_turn_score_mean).toBe(6.25);
  expect(judge.per_turn_score_distribution).toEqual({ '4': 1, '8': 1 });
  expect([judge.avg_score_mean, judge.avg_score_distribution]).toEqual([null, {}]);
});

test('turns are counted by the record, else by what was judged, else by the questions', () => {
  const { turn_count } = statsOf([
    { metadata: { n_turns: '2' } },
    { judge: { per_turn: [{}, {}, {}] } },
    {
      messages: [
        { role: 'user', content: 'q' },
        { role: 'assistant', content: 'a' },
      ],
    },
  ]);
  expect(turn_count).toEqual({ min: 1, max: 3, avg: 2, distribution: { '1': 1, '2': 1, '3': 1 } });
});

test('texts, languages, modes, difficulties and questions', () => {
  const row = (language: string, question: string) => ({
    messages: [
      { role: 'user', content: question },
      { role: 'assistant', content: 'one two three' },
    ],
    metadata: {
      language,
      n_turns: 1,
      question_modes: ['grounded'],
      difficulty_sequence: ['easy'],
      coverage_targets: [question.slice(0, 1).toLowerCase(), ' '],
    },
  });
  const stats = statsOf([row('fr', 'Qui ?'), row('en', 'Who?'), row('en', 'who'), row(' ', '')]);
  expect(stats.languages).toEqual({ en: 2, fr: 1 });
  expect(stats.records).toBe(4);
  expect(stats.question_modes).toEqual({ grounded: { count: 4, share: 1 } });
  expect(stats.difficulties).toEqual({ easy: { count: 4, share: 1 } });
  expect(stats.questions).toEqual({ total: 4, compared: 4, unique: 3, unique_share: 0.75 });
  expect(stats.text.avg_words_per_message).toBe(2);
  expect(stats.text.avg_words_per_conversation).toBe(4);
  expect(stats.text.word_count_distribution).toEqual({ '3-3': 1, '4-4': 2, '5-5': 1 });
  expect(Object.keys(stats.by_language)).toEqual(['en', 'fr']);
  expect(stats.by_language['en']).toMatchObject({
    records: 2,
    turns: 2,
    passages_used: 1,
    unique_question_share: 0.5,
    distinct_1: 0.625,
  });
});

test('nothing at all is null and {}', () => {
  const stats = statsOf([]);
  expect(stats.turn_count).toEqual({ min: null, max: null, avg: null, distribution: {} });
  expect(stats.text.avg_words_per_message).toBeNull();
  expect(stats.text.token_estimate_distribution).toEqual({});
});

test('coverage is of what is known; what is used and no longer known counts as used only', () => {
  const used = { passages: new Set(['p1', 'gone']), documents: new Set(['a.md']) };
  expect(
    coverageStats(used, [
      { source: 'a.md', passageIds: ['p1', 'p2'] },
      { source: 'b.md', passageIds: ['p3', 'p4'] },
    ]),
  ).toEqual({
    passages_used: 2,
    documents_used: 1,
    passages_known: 4,
    passage_share: 0.25,
    documents_known: 2,
    document_share: 0.5,
  });
  expect(coverageStats(used, null)).toMatchObject({
    passages_used: 2,
    passages_known: null,
    passage_share: null,
  });
});

test('the file writes means and shares as Python does, counts as whole numbers', () => {
  const text = statsFile(statsOf([{ metadata: { n_turns: 2 }, judge: { avg_score: 8 } }]));
  expect(text).toContain('"avg": 2.0');
  expect(text).toContain('"avg_score_mean": 8.0');
  expect(text).toContain('"min": 2,');
  expect(JSON.parse(text)).toMatchObject({ source_file: 'x.jsonl', records: 1 });
});
