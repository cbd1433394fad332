import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { extractText } from 'unpdf';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../../src/config/load.ts';
import { resolveSeedTopics } from '../../../src/dialogue/seed-topics.ts';

const FOLDER = 'examples/quickstart';
const KNOWLEDGE = `${FOLDER}/knowledge`;
const documents = readdirSync(KNOWLEDGE, { recursive: true, encoding: 'utf8' }).filter(
  (name) => extname(name) !== '',
);

const textOf = async (name: string): Promise<string> => {
  const bytes = readFileSync(`${KNOWLEDGE}/${name}`);
  if (extname(name) !== '.pdf') return bytes.toString('utf8');
  return (await extractText(new Uint8Array(bytes), { mergePages: true })).text;
};

describe('the quick start', () => {
  test('has documents of all three kinds, also in a sub-folder', () => {
    expect(documents.length).toBeGreaterThanOrEqual(7);
    expect(new Set(documents.map((name) => extname(name)))).toEqual(new Set(['.md', '.txt', '.pdf']));
    expect(documents.some((name) => name.includes('/'))).toBe(true);
  });

  test.each(documents)('%s can be read and is long enough to talk about', async (name) => {
    const words = (await textOf(name)).split(/\s+/);
    expect(words.length).toBeGreaterThan(600);
    expect(words.length).toBeLessThan(1_300);
  });

  test.each(['config.yaml', 'config.openai.yaml'])(
    '%s is valid and leaves nothing to complain about',
    (name) => {
      const { config, notices } = loadConfig({
        configPath: `${FOLDER}/${name}`,
        env: { OPENAI_API_KEY: 'not-a-real-key' },
      });
      expect(notices).toEqual([]);
      expect(config.run.target_languages).toEqual(['english', 'french']);
      expect(config.judge.mode).toBe('online');
    },
  );

  test('the offline configuration asks nobody for anything', () => {
    expect(loadConfig({ configPath: `${FOLDER}/config.yaml`, env: {} }).config.llm.backend).toBe('rehearsal');
  });

  test.each(['english', 'french', 'en', 'fr'])('has seed questions for %s', (targetLanguage) => {
    const value: unknown = parse(readFileSync(`${FOLDER}/data/seeds/topics.yaml`, 'utf8'));
    const { topics, variant, problems } = resolveSeedTopics(
      { type: 'file', name: 'topics.yaml', value },
      { targetLanguage, variant: '' },
    );
    expect(problems).toEqual([]);
    expect(variant).toBe(targetLanguage.startsWith('en') ? 'english' : 'french');
    expect(topics.flatMap(({ questions }) => questions)).toHaveLength(12);
  });
});
