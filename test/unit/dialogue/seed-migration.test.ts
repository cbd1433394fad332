import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { migrateSeeds } from '../../../src/dialogue/seed-migration.ts';
import { resolveSeedTopics } from '../../../src/dialogue/seed-topics.ts';

const migrated = (root: Record<string, unknown>, labels: readonly string[] = []) => {
  const result = migrateSeeds('topics.json', root, labels);
  if (result === null) throw new Error('nothing was found');
  return { ...result, value: parse(result.yaml) as Record<string, Record<string, unknown>> };
};

const EMPTY = `version: 1
defaults:
  by_target_language:
    ar: msa
    en: english
    fr: france
  final_fallback: english
`;
const USUAL_ALIASES = '  arabic: msa\n  french: france\n  ar: msa\n  en: english\n  fr: france\n';

test('topics with variants: aliases in order of first appearance, variants by name', () => {
  const { yaml, variants, topicCount } = migrated({
    Zakat: { MSA: ['ما هي الزكاة؟'], english: ['Who pays zakat?', 'no'] },
    Finance: { ' English ': ['What is riba?'] },
  });
  expect(yaml).toBe(`${EMPTY}aliases:
  msa: msa
  english: english
${USUAL_ALIASES}variants:
  english:
    Zakat:
    - Who pays zakat?
    - 'no'
    Finance:
    - What is riba?
  msa:
    Zakat:
    - ما هي الزكاة؟
`);
  expect({ variants, topicCount }).toEqual({ variants: ['english', 'msa'], topicCount: 2 });
});

test('topics without variants are english; both kinds may stand side by side', () => {
  const flat = migrated({ Finance: ['a'], Zakat: ['b'] });
  expect(flat.value['variants']).toEqual({ english: { Finance: ['a'], Zakat: ['b'] } });
  const mixed = migrated({ Finance: ['a'], Zakat: { morocco: ['c'], english: ['b'] } });
  expect(mixed.value['variants']).toEqual({
    english: { Finance: ['a'], Zakat: ['b'] },
    morocco: { Zakat: ['c'] },
  });
  expect(Object.keys(mixed.value['aliases'] ?? {}).slice(0, 2)).toEqual(['english', 'morocco']);
});

test('only texts that are not blank are kept, and what is left out is named', () => {
  const { value, problems } = migrated({ variants: { english: { Odd: ['', '  ', 5, null, ['x'], ' a '] } } });
  expect(value['variants']).toEqual({ english: { Odd: ['a'] } });
  expect(problems).toHaveLength(5);
  expect(problems[2]).toContain('question 3 is the number 5');
});

test.each([{}, { Finance: [] }, { variants: { english: { Finance: [7] } } }, { version: 1 }, { a: 'b' }])(
  'nothing is found in %j',
  (root) => expect(migrateSeeds('topics.json', root, [])).toBeNull(),
);

test('`defaults` and `aliases` of a structured source are kept', () => {
  const source = {
    defaults: { by_target_language: { de: 'swiss', ar: 'morocco' }, final_fallback: 'swiss' },
    aliases: { darija: 'morocco', ar: 'swiss' },
    variants: { swiss: { Topic: ['a'] }, morocco: { Topic: ['b'] } },
  };
  const { value } = migrated(source);
  expect(value).toEqual({ version: 1, ...source });
  expect(Object.keys(value['variants'] ?? {})).toEqual(['morocco', 'swiss']);
});

test('names at the top come into `defaults`', () => {
  const { value } = migrated({
    default_variant_by_target_language: { de: 'swiss' },
    final_fallback: 'swiss',
    topics: { swiss: { Topic: ['a'] } },
  });
  expect(value['defaults']).toEqual({ by_target_language: { de: 'swiss' }, final_fallback: 'swiss' });
});

test('an alias of a language is not hidden by the default that is filled in', () => {
  const root = { aliases: { ar: 'gulf' }, variants: { msa: { T: ['m'] }, gulf: { T: ['g'] } } };
  const { value } = migrated(root);
  const asked = (of: unknown) =>
    resolveSeedTopics({ type: 'file', name: 'topics.yaml', value: of }, { targetLanguage: 'ar', variant: '' })
      .topics;
  expect(asked(value)).toEqual(asked(root));
  expect(asked(value)[0]?.questions).toEqual(['g']);
});

test('a file that was migrated stays as it is', () => {
  for (const root of [
    { Zakat: { MSA: ['ما هي الزكاة؟'], english: ['Who?'] } },
    { Finance: ['a'] },
    { aliases: { x: 'swiss' }, variants: { swiss: { Topic: ['a'] } } },
  ]) {
    const once = migrated(root);
    expect(migrated(once.value).yaml).toBe(once.yaml);
  }
});

test('what stands under one name twice is not lost', () => {
  const { value } = migrated({ variants: { English: { T: ['a'] }, english: { 'T ': ['b'], T: ['c'] } } });
  expect(value['variants']).toEqual({ english: { T: ['a', 'b', 'c'] } });
});
