import { describe, expect, test } from 'vitest';
import { hubUrl, publishingProblems, repoIdLack } from '../../../src/config/publishing.ts';
import { checkRequirements } from '../../../src/config/requirements.ts';
import { load } from './project.ts';

const AUTO = 'saving: {hf_push: {enabled: true, auto_push_on_run: true';
const problemsOf = (yaml: string, env: Record<string, string>): string[] =>
  publishingProblems(load(yaml).config, env).map(({ keyPath, message }) => `${keyPath}: ${message}`);

describe('the address of the Hub', () => {
  test.each([
    [undefined, 'https://huggingface.co'],
    ['  ', 'https://huggingface.co'],
    ['https://hub.example.org/', 'https://hub.example.org'],
    [' http://127.0.0.1:8080/hub// ', 'http://127.0.0.1:8080/hub'],
  ])('HF_ENDPOINT %j', (given, expected) => {
    expect(hubUrl({ HF_ENDPOINT: given })).toBe(expected);
  });

  test.each(['huggingface.co', 'ftp://hub'])('%s is refused', (given) => {
    expect(() => hubUrl({ HF_ENDPOINT: given })).toThrow(/HF_ENDPOINT must be the address/);
  });
});

describe('repository ids', () => {
  test.each(['owner/name', 'name', ' owner/name ', 'O_1/a.b-c', `${'a'.repeat(96)}/b`])(
    '%j can be one',
    (id) => {
      expect(repoIdLack(id)).toBeNull();
    },
  );

  test.each([
    'a/b/c',
    '/b',
    'a/',
    'a b/c',
    'a/b..c',
    'a/b--c',
    'a/-b',
    'a/b.',
    'ä/b',
    'a/../b',
    `${'a'.repeat(97)}/b`,
  ])('%j cannot', (id) =>
    expect(repoIdLack(id)?.message).toMatch(/^HF repo_id `.*` is not of the form owner\/name\.$/),
  );

  test.each(['', '  '])('%j is none', (id) => {
    expect(repoIdLack(id)?.message).toBe('HF repo_id is required.');
  });
});

describe('I6: a run that publishes at its end', () => {
  test('lacks repository, token and address before it starts', () => {
    expect(problemsOf(`${AUTO}}}`, { HF_ENDPOINT: 'nowhere' })).toEqual([
      'saving.hf_push.repo_id: HF repo_id is required.',
      'saving.hf_push.auto_push_on_run: HF token not found.',
      expect.stringContaining('HF_ENDPOINT must be the address'),
    ]);
    expect(problemsOf(`${AUTO}, repo_id: a/b}}`, { HUGGINGFACE_HUB_TOKEN: 't' })).toEqual([]);
  });

  test.each([
    ['judge: {enabled: false}', '', true],
    ['judge: {mode: offline}', '', true],
    ['judge: {mode: online}', '', false],
    ['judge: {enabled: false}', ', source_file: conversations_sharegpt.jsonl', false],
  ])('is told when it will have nothing to publish: %s%s', (judge, source, isTold) => {
    const loaded = load(`${judge}\n${AUTO}, repo_id: a/b${source}}}`);
    const told = checkRequirements(loaded, 'run').notices.filter((notice) => notice.includes('[hf-push]'));
    expect(told).toHaveLength(isTold ? 1 : 0);
    if (isTold)
      expect(told[0]).toContain('Nothing of this run will be in conversations_sharegpt_judged.jsonl');
  });

  test.each([
    'saving: {hf_push: {enabled: true}}',
    'saving: {hf_push: {auto_push_on_run: true}}',
    `${AUTO}}}\nllm: {backend: rehearsal}`,
  ])('nothing is lacking when nothing will be published: %s', (yaml) => {
    expect(problemsOf(yaml, {})).toEqual([]);
  });
});
