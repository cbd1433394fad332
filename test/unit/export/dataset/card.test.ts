import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { type CardFacts, datasetCard } from '../../../../src/export/dataset/card.ts';
import { sizeCategory } from '../../../../src/export/dataset/card-metadata.ts';
import { languageCode } from '../../../../src/export/dataset/language-codes.ts';

const FACTS: CardFacts = {
  repoId: 'me/data',
  prettyName: 'data',
  license: '',
  languages: ['en'],
  records: 1,
  rehearsal: false,
  configs: [
    { name: 'default', reader: 'json', files: [{ split: 'train', path: 'x.jsonl' }], fields: { a: 'text' } },
  ],
  splits: new Map([['train', 1]]),
  contents: [{ path: 'x.jsonl', what: 'rows' }],
  stats: null,
  statsFile: null,
  plots: [],
  made: { backend: 'openai', version: '1', seed: '0', models: [], judge: 'none', runs: null, settings: [] },
  notes: [],
};

const metadataOf = (facts: Partial<CardFacts>): unknown =>
  parse(/^---\n(.*?)\n---\n/s.exec(datasetCard({ ...FACTS, ...facts }))?.[1] ?? '');

test('the front matter of a plain export', () => {
  expect(metadataOf({ license: 'cc-by-4.0' })).toEqual({
    pretty_name: 'data',
    license: 'cc-by-4.0',
    language: ['en'],
    size_categories: ['n<1K'],
    task_categories: ['question-answering', 'text-generation'],
    tags: ['synthetic', 'rag', 'multi-turn', 'dlgforge'],
    configs: [{ config_name: 'default', data_files: [{ split: 'train', path: 'x.jsonl' }] }],
    dataset_info: [{ config_name: 'default', features: [{ name: 'a', dtype: 'string' }] }],
  });
});

test('names cannot break out of the YAML or the Markdown', () => {
  const prettyName = 'a: "b"\n---\n# | [x](y) <img>';
  expect(metadataOf({ prettyName, license: 'no: "x"' })).toMatchObject({
    pretty_name: prettyName,
    license: 'other',
    license_name: 'no: "x"',
  });
  const card = datasetCard({ ...FACTS, prettyName, made: { ...FACTS.made, settings: ['a: "```"'] } });
  expect(card).toContain('# a: "b" --- \\# \\| \\[x\\](y) \\<img\\>\n');
  expect(card.match(/```/g)).toHaveLength(4);
});

test('I5: languages are codes, each once; what is none is left out and said', () => {
  const languages = ['English', 'en-GB', 'fr', 'Klingon', 'Egyptian Arabic', 'norwegian', ''];
  expect(metadataOf({ languages })).toMatchObject({ language: ['arz', 'en', 'fr', 'no'] });
  expect(datasetCard({ ...FACTS, languages })).toContain('no language code for `Klingon`');
  expect(metadataOf({ languages: ['Klingon'] })).not.toHaveProperty('language');
});

test.each([
  ['de', 'de'],
  ['Deutsch', 'de'],
  ['zh-Hans', 'zh'],
  ['العربية', 'ar'],
  ['Arabic (Gulf)', 'ar'],
  [' JAPANESE ', 'ja'],
  ['no', 'no'],
  ['xx', null],
  ['the', null],
  ['', null],
])('I5: %s is %s', (language, code) => {
  expect(languageCode(language)).toBe(code);
});

test('a licence is one of the Hub, or another by its name', () => {
  expect(metadataOf({ license: 'CC-BY-4.0' })).toMatchObject({ license: 'cc-by-4.0' });
  expect(metadataOf({ license: 'House rules' })).toMatchObject({
    license: 'other',
    license_name: 'House rules',
  });
  expect(metadataOf({ license: '' })).not.toHaveProperty('license');
});

test('sizes', () => {
  expect([1, 999, 1000, 99_999, 1e9].map(sizeCategory)).toEqual([
    'n<1K',
    'n<1K',
    '1K<n<10K',
    '10K<n<100K',
    'n>1B',
  ]);
});

test('what another reader reads is loaded by its files', () => {
  const configs: CardFacts['configs'] = [
    ...FACTS.configs,
    {
      name: 'parquet',
      reader: 'parquet',
      files: [{ split: 'train', path: 'data/train-*.parquet' }],
      fields: {},
    },
  ];
  expect(metadataOf({ configs })).toMatchObject({ configs: [{ config_name: 'default' }] });
  expect(datasetCard({ ...FACTS, configs })).toContain(
    'load_dataset("parquet", data_files={"train": "hf://datasets/me/data/data/train-*.parquet"})',
  );
});

test('rehearsal data is marked', () => {
  expect(metadataOf({ rehearsal: true })).toMatchObject({
    tags: expect.arrayContaining(['rehearsal']) as unknown,
  });
  expect(datasetCard({ ...FACTS, rehearsal: true })).toContain('Rehearsal data');
});
