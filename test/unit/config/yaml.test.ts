import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { failure, load, project, refused } from './project.ts';

describe('words that YAML versions read differently', () => {
  test.each(['no', 'No', 'off', 'yes', 'on'])('the language code %s stays text, and that is said', (word) => {
    const { config, notices } = load(`run:\n  target_languages:\n    - en\n    - ${word}\n`);
    expect(config.run.target_languages).toEqual(['en', word]);
    expect(notices).toEqual([
      expect.stringContaining(`config.yaml:4: \`run.target_languages[1]\`: ${word} is read as the text`),
    ]);
    expect(load(`run: {target_languages: ["${word}"]}\n`).notices).toEqual([]);
  });

  test.each([
    ['no', false],
    ['off', false],
    ['n', false],
    ['yes', true],
    ['on', true],
    ['y', true],
  ])('where a truth value is wanted, %s is %s, and that is said', (word, value) => {
    const { config, notices } = load(`personas: {enabled: ${word}}\n`);
    expect(config.personas.enabled).toBe(value);
    expect(notices).toEqual([expect.stringContaining(`${word} is read as ${String(value)}`)]);
  });

  test('coverage mode off is off, and true is no language', () => {
    expect(load('coverage: {doc_coverage_mode: off}\n').config.coverage.doc_coverage_mode).toBe('off');
    const { problems } = refused('run:\n  target_languages: [en, false]\n');
    expect(problems).toEqual([
      expect.objectContaining({
        line: 2,
        keyPath: 'run.target_languages[1]',
        value: 'false',
        hint: expect.stringContaining('quotes: "no"'),
      }),
    ]);
  });

  test('in mappings that are handed on, they stay what 0.1.0 made of them', () => {
    const { config, notices } = load('llm: {agents: {user: {extra: {stream: off, user: y, n: 1_000}}}}\n');
    expect(config.llm.agents.user.extra).toEqual({ stream: false, user: 'y', n: 1000 });
    expect(notices).toHaveLength(1);
  });

  test('a file that says that it is YAML 1.1 is read in the same way', () => {
    expect(load('%YAML 1.1\n---\nrun: {target_languages: [no]}\n').config.run.target_languages).toEqual([
      'no',
    ]);
  });
});

describe('numbers', () => {
  test('underscores, quotes, leading zeros and numbers to the base 60', () => {
    expect(load('run: {total_samples: 1_000, batch_size: "8"}\n').config.run).toMatchObject({
      total_samples: 1000,
      batch_size: 8,
    });
    expect(load('run: {total_samples: 010}\n').notices.join()).toContain('leading zero');
    expect(refused('run: {total_samples: 12:30}\n').message).toContain('base 60');
    expect(refused('run: {total_samples: .inf}\n').message).toContain('must be an integer');
    expect(refused('run: {total_samples: true}\n').message).toContain('must be an integer');
  });

  test('text that looks like a number stays as it was written', () => {
    expect(load('run: {run_id: 007, resume_run_id: 1.50}\n').config.run).toMatchObject({
      run_id: '007',
      resume_run_id: '1.50',
    });
  });
});

describe('syntax', () => {
  test('a duplicate key is refused with its line', () => {
    expect(refused('run:\n  batch_size: 1\n  seed: 2\n  batch_size: 3\n').problems).toEqual([
      expect.objectContaining({ line: 4, message: 'Duplicate key `batch_size`.' }),
    ]);
  });

  test.each([
    'run: [1\n',
    'run:\n\tbatch_size: 1\n',
    'a: b: c\n',
    'run: "x\n',
    '!!python/object:os.system x\n',
    'run: {seed: *nowhere}\n',
  ])('%j is refused with a line', (yaml) => {
    const { problems } = refused(yaml);
    expect(problems[0]?.line).toBeGreaterThan(0);
  });

  test('anchors, aliases and merge keys', () => {
    const { config, origins } = load(
      'llm:\n  agents:\n    user: &model\n      model: m\n      temperature: 0.1\n    assistant: *model\n    judge:\n      <<: *model\n      temperature: 0\n',
    );
    expect(config.llm.agents.assistant).toMatchObject({ model: 'm', temperature: 0.1 });
    expect(config.llm.agents.judge).toMatchObject({ model: 'm', temperature: 0 });
    expect(origins['llm.agents.judge.temperature']).toMatch(/:9$/);
  });

  test('aliases that multiply or refer to themselves are refused at once (I9)', () => {
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...Array.from(
        'bcdefghi',
        (name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[index]}`).join(',')}]`,
      ),
    ].join('\n');
    expect(refused(bomb).message).toContain('Aliases or nesting make this file too large.');
    expect(refused('run: &r\n  data: *r\n').message).toContain('Aliases or nesting');
  });

  test('a file that is not UTF-8 is named', () => {
    const file = join(project({}), 'config.yaml');
    writeFileSync(file, Buffer.from([0x72, 0x75, 0x6e, 0x3a, 0xff, 0xfe]));
    expect(failure(() => loadConfig({ configPath: file, env: {} })).message).toContain(
      'it is not UTF-8 text',
    );
  });
});

describe('one text for a list', () => {
  test('commas part it where that is safe', () => {
    expect(load('run: {target_languages: "fr, ar , fr,"}\n').config.run.target_languages).toEqual([
      'fr',
      'ar',
    ]);
    expect(load('run: {target_languages: []}\n').config.run.target_languages).toEqual(['en']);
    expect(refused('llm: {vllm: {extra_args: "--a b,c"}}\n').message).toContain('must be a list');
  });
});
