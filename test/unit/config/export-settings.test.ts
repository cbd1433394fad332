import { expect, test } from 'vitest';
import { load, refused } from './project.ts';

const withExport = (text: string): string => `saving: {export: ${text}}`;

test('formats are a list or a comma list; an unknown one is refused, and all are named', () => {
  expect(load(withExport('{formats: "parquet, jsonl.zst"}')).config.saving.export.formats).toEqual([
    'parquet',
    'jsonl.zst',
  ]);
  expect(load(withExport('{formats: [chatml]}')).config.saving.export.formats).toEqual(['chatml']);
  const { message } = refused(withExport('{formats: [arrow]}'));
  for (const name of ['sharegpt', 'openai', 'chatml', 'parquet', 'jsonl.zst'])
    expect(message).toContain(name);
});

test('splits leave something for train, and turns are a range', () => {
  expect(refused(withExport('{splits: {validation: 0.5, test: 0.5}}')).message).toContain('leaves nothing');
  expect(refused(withExport('{min_turns: 4, max_turns: 2}')).message).toContain('no conversation');
});

test('prices are numbers per million tokens', () => {
  expect(refused(withExport('{prices: {gpt: {input: 1}}}')).message).toContain('`output`');
  expect(refused(withExport('{prices: {gpt: {input: 1, output: -2}}}')).message).toContain('gpt');
  const { prices } = load(withExport('{prices: {gpt: {input: 1, cached: 0.5, output: 2}}}')).config.saving
    .export;
  expect(prices).toEqual({ gpt: { input: 1, cached: 0.5, output: 2 } });
});
