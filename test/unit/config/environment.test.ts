import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ENVIRONMENT_VARIABLES, type EnvironmentVariable } from '../../../src/config/environment-table.ts';
import { KEYS, keyDefinition } from '../../../src/config/keys.ts';
import { configRows } from '../../../src/config/show.ts';
import type { LoadedConfig } from '../../../src/config/load.ts';
import { CONTRACT_VARIABLES } from './contract-variables.ts';
import { load, refused } from './project.ts';

const DATA_KEYS = [...KEYS.values()];
const ENDPOINTS = [{ base_url: 'http://10.0.0.9:8000/v1', weight: 2 }];

/** Ranges that keep keys in tune which are compared with each other. */
const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  'run.turns.min': [1, 4],
  'run.turns.max': [5, 12],
  'run.turns.exact': [1, 20],
  'tools.retrieval.chunking.chunk_size': [300, 2000],
  'tools.retrieval.chunking.chunk_overlap': [0, 200],
  'store.postgres.min_pool_size': [1, 5],
  'store.postgres.max_pool_size': [6, 40],
  'llm.vllm.port_start': [1000, 20_000],
  'llm.vllm.replicas': [1, 50],
};

/** A value that the key accepts, as its kind wants it. */
function valueOf(path: string): fc.Arbitrary<unknown> {
  const { meta } = keyDefinition(path);
  const [low, high] = RANGES[path] ?? [1, 40];
  switch (meta.kind) {
    case 'boolean':
      return fc.boolean();
    case 'integer':
      return fc.integer({ min: low, max: high });
    case 'decimal':
      return path.includes('rehearsal')
        ? fc.constant(0.05)
        : path.endsWith('straggler_factor')
          ? fc.constant(3)
          : fc.double({ min: 0.06, max: 0.99, noNaN: true });
    case 'choice':
      return fc.constantFrom(...(meta.choices ?? []));
    case 'texts':
      return meta.choices === undefined
        ? fc.uniqueArray(fc.constantFrom('en', 'fr', 'ar', 'ja'), { minLength: 1 })
        : fc.constant([meta.choices[0]]);
    case 'objects':
      return fc.constant(ENDPOINTS);
    case 'mapping':
      return fc.dictionary(fc.constantFrom('a', 'b'), fc.integer());
    case 'texts_by_name':
      return fc.constant({ A: 'b' });
    default:
      if (path.includes('output_columns')) return fc.constant(path);
      return path.endsWith('base_url')
        ? fc.constantFrom('http://a/v1', 'https://b.example:8/v1')
        : fc.constantFrom('alpha', 'beta-1', 'gamma');
  }
}

/** Keys that a file may set beside each other; the turn mode is said by the numbers. */
const FILE_KEYS = DATA_KEYS.map(({ path }) => path).filter(
  (path) =>
    !/^run\.turns\.(mode|exact)$|^llm\.rehearsal\.|^saving\.export\.(?:prices|splits|m(?:in|ax)_turns)/.test(
      path,
    ),
);

const fileArbitrary = fc
  .subarray(FILE_KEYS, { maxLength: 12 })
  .chain((paths) =>
    fc.tuple(
      ...[...new Set([...paths, 'run.turns.min', 'run.turns.max'])].map((path) =>
        valueOf(path).map((value) => [path, value] as const),
      ),
    ),
  );

function yamlOf(entries: readonly (readonly [string, unknown])[]): string {
  const tree: Record<string, unknown> = {};
  for (const [path, value] of entries) {
    const parts = path.split('.');
    const last = parts.pop() ?? '';
    let section = tree;
    for (const part of parts) section = (section[part] ??= {}) as Record<string, unknown>;
    section[last] = value;
  }
  return JSON.stringify(tree);
}

const environmentText = (value: unknown, { json }: EnvironmentVariable): string =>
  json !== undefined ? JSON.stringify(value) : Array.isArray(value) ? value.join(',') : String(value);

const rows = (loaded: LoadedConfig): Map<string, string> =>
  new Map(configRows(loaded).map(({ key, value }) => [key, JSON.stringify(value)]));

/** What `config show` has of a value; connections are masked, endpoints filled up with defaults. */
function comparable(key: string, value: unknown): string {
  if (/\.(?:dsn|nats_url|nats_token)$/.test(key)) return '***';
  return key.endsWith('.endpoints') ? JSON.stringify(ENDPOINTS[0]?.base_url) : JSON.stringify(value);
}

/** What a variable may change: its key, and for turns the keys that follow from it. */
const mayChange = ({ key }: EnvironmentVariable): ((path: string) => boolean) =>
  /^run\.turns\.(exact|min|max)$/.test(key)
    ? (path) => /^run\.turns\.(mode|exact|min|max)$/.test(path)
    : (path) => path === key;

/** A file that sets many keys, so that a variable has something to override. */
const FILES = fc
  .sample(fileArbitrary, { numRuns: 6, seed: 20_261_122 })
  .map((entries) => ({ yaml: yamlOf(entries), before: rows(load(yamlOf(entries))) }));

describe('every variable of the table', () => {
  test('is one of the contract, with the key that the contract says', () => {
    expect(Object.fromEntries(ENVIRONMENT_VARIABLES.map(({ name, key }) => [name, key]))).toEqual(
      CONTRACT_VARIABLES,
    );
  });

  test.each(ENVIRONMENT_VARIABLES.map((variable) => [variable.name, variable] as const))(
    '%s changes exactly its key, whatever the file says',
    (name, variable) => {
      fc.assert(
        fc.property(fc.constantFrom(...FILES), valueOf(variable.key), ({ yaml, before }, value) => {
          const text = environmentText(value, variable);
          const after = load(yaml, { [name]: text });
          expect(after.origins[variable.key]).toBe(`env:${name}`);
          const has = rows(after);
          const changed = [...has].filter(([key, shown]) => before.get(key) !== shown).map(([key]) => key);
          expect(changed.filter((key) => !mayChange(variable)(key))).toEqual([]);
          expect(has.get(variable.key)).toContain(comparable(variable.key, value));
        }),
        { numRuns: 2 },
      );
    },
  );

  test('the value that arrives is the one that was set', () => {
    const { config } = load('', {
      N_TURNS: '7',
      BATCH_SIZE: ' 12 ',
      TURN_COUNT_MEAN: '4.5',
      SEED_TOPICS_ENABLED: 'No',
      TARGET_LANGUAGES: 'fr, ar,,fr',
      JUDGE_ENABLED: '1',
      LLM_JUDGE_TEMPERATURE: '0.5',
      KB_EMBEDDING_ENCODE_KWARGS_JSON: '{"normalize": false}',
      LLM_ROUTING_ENDPOINTS_JSON: '["http://h:1/v1", {"base_url": "http://h:2/v1", "timeout_s": 9}]',
      OUTPUT_DIR: '/data/out',
    });
    expect(config.run).toMatchObject({
      batch_size: 12,
      target_languages: ['fr', 'ar'],
      turns: { mode: 'exact', exact: 7, min: 7, max: 7, mean: 4.5 },
    });
    expect(config.run.data.seeding.topics.enabled).toBe(false);
    expect(config.judge.enabled).toBe(true);
    expect(config.llm.agents.judge.temperature).toBe(0.5);
    expect(config.tools.retrieval.embeddings.encode_kwargs).toEqual({ normalize: false });
    expect(config.llm.routing.endpoints).toMatchObject([
      { base_url: 'http://h:1/v1' },
      { base_url: 'http://h:2/v1', timeout: 9 },
    ]);
    expect(config.saving.output_dir).toBe('/data/out');
  });
});

describe('several variables for one key', () => {
  test.each([
    ['LLM_MODE', 'LLM_BACKEND', 'vllm_attach', 'rehearsal', 'llm.backend'],
    ['QUESTION_SEED', 'QUESTION', 'a', 'b', 'run.data.seeding.question'],
    ['LLM_QA_GENERATOR_MODEL', 'LLM_USER_MODEL', 'a', 'b', 'llm.agents.user.model'],
    [
      'LLM_KB_RESPONDER_BASE_URL',
      'LLM_ASSISTANT_BASE_URL',
      'http://a/v1',
      'http://b/v1',
      'llm.agents.assistant.base_url',
    ],
    ['TARGET_LANGUAGES', 'TARGET_LANGUAGE', 'fr', 'ar', 'run.target_languages'],
    ['POSTGRES_DSN', 'DLGFORGE_POSTGRES_DSN', 'postgres://a/x', 'postgres://b/x', 'store.postgres.dsn'],
  ])('%s counts before %s, and that is said when they differ', (first, second, a, b, key) => {
    const { origins, notices } = load('', { [first]: a, [second]: b });
    expect(origins[key]).toBe(`env:${first}`);
    expect(notices.join()).toContain(`${first} and ${second} are both set and differ`);
    expect(load('', { [first]: '', [second]: b }).origins[key]).toBe(
      first === 'TARGET_LANGUAGES' ? `env:${first}` : `env:${second}`,
    );
  });

  test('TARGET_LANGUAGES set but empty means the default', () => {
    expect(
      load('run: {target_languages: [fr]}\n', { TARGET_LANGUAGES: '' }).config.run.target_languages,
    ).toEqual(['en']);
  });
});

describe('bad values', () => {
  test.each([
    ['KB_EMBEDDING_MODEL_KWARGS_JSON', '{', 'KB_EMBEDDING_MODEL_KWARGS_JSON must be valid JSON object'],
    ['KB_EMBEDDING_MODEL_KWARGS_JSON', '[]', 'KB_EMBEDDING_MODEL_KWARGS_JSON must be a JSON object.'],
    ['LLM_ROUTING_ENDPOINTS_JSON', '{}', 'LLM_ROUTING_ENDPOINTS_JSON must be a JSON list.'],
    ['LLM_USER_ROUTING_ENDPOINTS_JSON', 'x', 'LLM_USER_ROUTING_ENDPOINTS_JSON must be valid JSON list'],
    [
      'LLM_JUDGE_TOP_P',
      'high',
      'environment variable LLM_JUDGE_TOP_P: `llm.agents.judge.top_p` must be a number',
    ],
    [
      'JUDGE_ENABLED',
      'perhaps',
      'environment variable JUDGE_ENABLED: `judge.enabled` must be true or false.',
    ],
    ['STORE_BACKEND', 'sqlite', 'environment variable STORE_BACKEND: `store.backend` must be `postgres`.'],
  ])('%s=%s is refused by name', (name, value, text) => {
    expect(refused('', { [name]: value }).message).toContain(text);
  });
});
