import { describe, expect, test } from 'vitest';
import { resolveSeedTopics, type SeedSource } from '../../../src/dialogue/seed-topics.ts';

const file = (value: unknown): SeedSource => ({ type: 'file', name: 'topics.yaml', value });
const folder = (files: Record<string, unknown>): SeedSource => ({
  type: 'folder',
  files: new Map(Object.entries(files)),
});
const resolve = (source: SeedSource, targetLanguage: string, variant = '') =>
  resolveSeedTopics(source, { targetLanguage, variant });
/** The first question, which says where it came from. */
const taken = (source: SeedSource, language: string, variant = '') =>
  resolve(source, language, variant).topics[0]?.questions[0];
const ask = (...questions: unknown[]) => ({ Topic: questions });

const STRUCTURED = {
  version: 1,
  defaults: { by_target_language: { de: 'swiss' }, final_fallback: 'english' },
  aliases: { darija: 'morocco', chosen: 'swiss' },
  variants: {
    english: ask('english'),
    france: ask('france'),
    msa: ask('msa'),
    morocco: ask('morocco'),
    swiss: ask('swiss'),
    'levantine-arabic': ask('levantine'),
  },
};

describe('structured files', () => {
  test.each([
    ['explicit variant', 'fr', 'morocco', 'morocco'],
    ['explicit, whatever its case', 'fr', ' MOROCCO ', 'morocco'],
    ['alias of the explicit one', 'fr', 'chosen', 'swiss'],
    ['default of the language', 'DE', '', 'swiss'],
    ['alias of the language', 'darija', '', 'morocco'],
    ['C15: the language itself', 'morocco', '', 'morocco'],
    ['C15: the language itself, whatever its case', 'Morocco', '', 'morocco'],
    ['C15: the language itself, by its tag', 'Levantine Arabic', '', 'levantine'],
    ['built-in: fr', 'fr', '', 'france'],
    ['built-in: ar', 'ar', '', 'msa'],
    ['built-in: en', 'en', '', 'english'],
    ['an explicit variant that is not there', 'ar', 'atlantis', 'msa'],
    ['nothing fits', 'xx', '', 'english'],
  ])('%s', (_, language, variant, expected) =>
    expect(taken(file(STRUCTURED), language, variant)).toBe(expected),
  );

  test('the fallback is configurable, the one at the top wins', () => {
    expect(taken(file({ ...STRUCTURED, defaults: { final_fallback: 'msa' } }), 'xx')).toBe('msa');
    expect(
      taken(file({ ...STRUCTURED, final_fallback: 'france', defaults: { final_fallback: 'msa' } }), 'xx'),
    ).toBe('france');
    expect(taken(file({ ...STRUCTURED, final_fallback: 'gone' }), 'xx')).toBe('english');
  });

  test('defaults may stand at the top', () => {
    const { defaults: _, ...rest } = STRUCTURED;
    expect(taken(file({ ...rest, default_variant_by_target_language: { de: 'msa' } }), 'de')).toBe('msa');
  });

  test('variants under `topics`, or at the top', () => {
    expect(taken(file({ version: 1, topics: STRUCTURED.variants }), 'morocco')).toBe('morocco');
    expect(taken(file(STRUCTURED.variants), 'morocco')).toBe('morocco');
    expect(taken(file({ version: 1, ...STRUCTURED.variants }), 'swiss')).toBe('swiss');
    expect(taken(file({ swahili: ask('habari') }), 'Swahili')).toBe('habari');
  });

  test('reports what was chosen', () => {
    expect(resolve(file(STRUCTURED), 'de')).toEqual({
      variant: 'swiss',
      topics: [{ topic: 'Topic', questions: ['swiss'] }],
      problems: [],
    });
  });
});

describe('legacy nested files', () => {
  const legacy = {
    Banking: { english: ['bank-en'], msa: ['bank-msa'], morocco: ['bank-ma'] },
    Zakat: { english: ['zakat-en'], egypt: ['zakat-eg'] },
    Sukuk: { gulf: ['sukuk-gulf'] },
  };
  const questions = (language: string, variant = '') =>
    resolve(file(legacy), language, variant).topics.flatMap((topic) => topic.questions);

  test('C15: the language itself is tried', () =>
    expect(questions('morocco')).toEqual(['bank-ma', 'zakat-en', 'sukuk-gulf']));
  test('built-in names', () => expect(questions('ar')).toEqual(['bank-msa', 'zakat-en', 'sukuk-gulf']));
  test('explicit variant', () =>
    expect(questions('ar', 'egypt')).toEqual(['bank-en', 'zakat-eg', 'sukuk-gulf']));
  test('English, then the first one', () =>
    expect(questions('xx')).toEqual(['bank-en', 'zakat-en', 'sukuk-gulf']));
});

describe('flat files', () => {
  test('serve every language', () => {
    expect(resolve(file({ A: ['a1', 'a2'], B: ['b'] }), 'xx')).toEqual({
      variant: '',
      topics: [
        { topic: 'A', questions: ['a1', 'a2'] },
        { topic: 'B', questions: ['b'] },
      ],
      problems: [],
    });
  });

  test('also under a key', () => expect(taken(file({ version: 1, topics: { A: ['a'] } }), 'xx')).toBe('a'));
});

describe('folders', () => {
  test('with topics.yaml', () => {
    expect(taken(folder({ 'topics.yaml': STRUCTURED, 'english.yaml': ask('other') }), 'english')).toBe(
      'english',
    );
  });

  test('with a file per variant and an index', () => {
    const source = folder({
      'index.yaml': { aliases: { darija: 'morocco' }, default_variant_by_target_language: { de: 'swiss' } },
      'english.yml': ask('english'),
      'Morocco.json': ask('morocco'),
      'swiss.yaml': ask('swiss'),
      'france.yaml': ask('france'),
      'notes.txt': 'nothing',
    });
    expect(taken(source, 'darija')).toBe('morocco');
    expect(taken(source, 'morocco')).toBe('morocco');
    expect(taken(source, 'de')).toBe('swiss');
    expect(taken(source, 'fr')).toBe('france');
    expect(taken(source, 'xx')).toBe('english');
    expect(taken(source, 'xx', 'swiss')).toBe('swiss');
  });

  test('with neither', () => {
    expect(resolve(folder({ 'notes.txt': '' }), 'en').problems.join()).toContain('topics.yaml');
  });
});

describe('what is wrong is said', () => {
  test.each([[null], ['text'], [['a']], [7]])('%j is no seed file', (value) => {
    const { topics, problems } = resolve(file(value), 'en');
    expect(topics).toEqual([]);
    expect(problems.join()).toContain('topics.yaml: must be a mapping');
  });

  test('questions that are no texts are left out and named', () => {
    const { topics, problems } = resolve(file({ A: ['ok', 7, '  ', null], B: 'no list' }), 'en');
    expect(topics).toEqual([{ topic: 'A', questions: ['ok'] }]);
    expect(problems).toHaveLength(4);
    expect(problems.join('\n')).toContain('topic "A": question 2');
    expect(problems.join('\n')).toContain('topic "B" must be a list');
  });

  test('no variant for the language', () => {
    const { topics, problems } = resolve(file({ version: 1, variants: { msa: ask('a') } }), 'sw');
    expect(topics).toEqual([]);
    expect(problems.join()).toMatch(/"sw".*msa/);
  });

  test('a thousand faults make a short list', () => {
    expect(
      resolve(file({ A: ['ok', ...Array.from({ length: 1_000 }, () => 1)] }), 'en').problems.length,
    ).toBeLessThanOrEqual(20);
  });
});

test('C7: a question that stands twice is one seed', () => {
  expect(resolve(file({ A: ['Why?', 'why?  ', 'How?'], B: ['WHY?'] }), 'en').topics).toEqual([
    { topic: 'A', questions: ['Why?', 'How?'] },
  ]);
});
