import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { defaultConfig } from '../../../src/config/schema.ts';
import { failure, load, project, refused } from './project.ts';

describe('precedence', () => {
  test('defaults, file, environment and flags override each other in this order, key by key', () => {
    const { config, origins, configPath } = load(
      'run:\n  batch_size: 2\n  total_samples: 20\n  turns: {min: 3, max: 9}\n',
      { TOTAL_SAMPLES: '30', MAX_TURNS: '8' },
      { 'run.turns.max': { value: '7', flag: '--max-turns' } },
    );
    expect(config.run).toMatchObject({
      batch_size: 2,
      total_samples: 30,
      turns: { min: 3, max: 7, mode: 'range' },
    });
    expect(origins['run.batch_size']).toBe(`file:${configPath}:2`);
    expect(origins['run.total_samples']).toBe('env:TOTAL_SAMPLES');
    expect(origins['run.turns.max']).toBe('flag:--max-turns');
    expect(origins['run.turns.min']).toBe(`file:${configPath}:4`);
    expect(origins['run.seed']).toBe('default');
  });

  test('an empty file is the default configuration, without a notice', () => {
    for (const text of ['', '# nothing\n', '{}\n', '---\n']) {
      const { config, notices } = load(text);
      expect(config).toEqual(defaultConfig());
      expect(notices).toEqual([]);
    }
  });

  test('the documented defaults', () => {
    expect(defaultConfig()).toMatchObject({
      run: {
        batch_size: 1,
        total_samples: 0,
        target_languages: ['en'],
        turns: { mode: 'range', exact: null, min: 2, max: 2, distribution: 'poisson', mean: null },
      },
      store: {
        backend: 'postgres',
        postgres: { dsn: null, min_pool_size: 5, max_pool_size: 30, statement_timeout_ms: 30_000 },
      },
      llm: {
        backend: 'openai',
        max_in_flight: 16,
        max_attempts: 3,
        agents: { user: { provider: 'openai', model: '' }, judge: { provider: '' } },
      },
      tools: {
        retrieval: {
          top_k: 4,
          chunking: { chunk_size: 750, chunk_overlap: 150 },
          embeddings: { backend: 'auto' },
          reranker: { candidates: 12 },
        },
      },
      judge: { enabled: true, mode: 'offline', granularity: 'turn' },
      saving: {
        output_dir: 'outputs',
        log_max_mb: 50,
        log_files: 5,
        hf_push: { private: true, repo_type: 'dataset', clean_remote: false },
      },
    });
  });

  test('a mapping given as a flag or in code is read like one in the file', () => {
    const { config } = load(
      '',
      {},
      { 'llm.routing.endpoints': { value: ['http://127.0.0.1:1/v1'], flag: '--endpoint' } },
    );
    expect(config.llm.routing.endpoints).toMatchObject([
      { base_url: 'http://127.0.0.1:1/v1', weight: 1, roles: [] },
    ]);
  });
});

describe('the report', () => {
  test('names every problem with file, line, key, value and variable', () => {
    const { message, problems } = refused('run:\n  batch_size: 0\n  btach_size: 3\njudge:\n  mode: onlin\n', {
      MIN_TURNS: 'two',
    });
    expect(problems).toHaveLength(4);
    expect(problems).toContainEqual(
      expect.objectContaining({ line: 2, keyPath: 'run.batch_size', value: '0', variable: null }),
    );
    expect(problems).toContainEqual(
      expect.objectContaining({ line: 3, keyPath: 'run.btach_size', hint: 'Did you mean `run.batch_size`?' }),
    );
    expect(problems).toContainEqual(
      expect.objectContaining({ line: 5, keyPath: 'judge.mode', value: '"onlin"' }),
    );
    expect(problems).toContainEqual(
      expect.objectContaining({
        file: null,
        variable: 'MIN_TURNS',
        keyPath: 'run.turns.min',
        value: '"two"',
      }),
    );
    for (const text of [
      '4 problems',
      'config.yaml:2',
      'config.yaml:5',
      'environment variable MIN_TURNS',
      '`online` or `offline`',
    ]) {
      expect(message).toContain(text);
    }
  });

  test.each([
    ['- a list\n', 'Config must be a YAML object.'],
    ['just text\n', 'Config must be a YAML object.'],
    ['run: {turns: {mode: some}}\n', '`run.turns.mode` must be either `exact` or `range`.'],
    [
      'run: {turns: {min: 5, max: 3}}\n',
      'Invalid turn range: run.turns.min (5) must be <= run.turns.max (3).',
    ],
    ['run: {turns: {mode: exact}}\n', '`run.turns.exact` must be given when `run.turns.mode` is `exact`.'],
    ['run: {total_samples: -1}\n', '`run.total_samples` must be >= 0.'],
    ['run: {batch_size: many}\n', '`run.batch_size` must be an integer > 0.'],
    ['run: {batch_size: 2.5}\n', '`run.batch_size` must be an integer > 0.'],
    ['run: 5\n', '`run` must be a section.'],
    ['tools: {retrieval: {top_k: 0}}\n', '`tools.retrieval.top_k` must be > 0.'],
    [
      'tools: {retrieval: {chunking: {chunk_size: 0}}}\n',
      '`tools.retrieval.chunking.chunk_size` must be > 0.',
    ],
    [
      'tools: {retrieval: {chunking: {chunk_size: 100, chunk_overlap: 100}}}\n',
      '`tools.retrieval.chunking.chunk_overlap` must be >= 0 and <',
    ],
    [
      'llm: {temperature: 1, model: x}\n',
      'Forbidden LLM global key(s) in YAML: `llm.model`, `llm.temperature`.',
    ],
    [
      'llm: {agents: {user: {api_key: x}, judge: {api_key_env: Y}}}\n',
      'Forbidden credential key(s) in YAML: `llm.agents.judge.api_key_env`, `llm.agents.user.api_key`.',
    ],
    ['llm: {routing: {endpoints: [{name: a}]}}\n', '`llm.routing.endpoints[0].base_url` is missing.'],
    ['llm: {routing: {endpoints: [ftp://x]}}\n', '`llm.routing.endpoints[0].base_url` must be a URL'],
    [
      'llm: {routing: {endpoints: [{base_url: "http://a", timeout: 1, timeout_s: 2}]}}\n',
      'has both `timeout` and `timeout_s`',
    ],
    [
      'llm: {routing: {endpoints: [{base_url: "http://a", name: x}, {base_url: "http://b", name: x}]}}\n',
      'two endpoints with the name "x"',
    ],
    [
      'llm: {routing: {endpoints: [{base_url: "http://a", wieght: 2}]}}\n',
      'Did you mean `llm.routing.endpoints[0].weight`?',
    ],
    ['llm: {rehearsal: {reset_rate: 0.6, stall_rate: 0.6}}\n', 'may sum to 1 at most'],
    [
      'store: {postgres: {min_pool_size: 9, max_pool_size: 3}}\n',
      '`store.postgres.min_pool_size` (9) must be <=',
    ],
    [
      'saving: {hf_push: {repo_type: dtaset}}\n',
      '`saving.hf_push.repo_type` must be one of `dataset`, `model` or `space`.',
    ],
    ['personas: {enabled: perhaps}\n', '`personas.enabled` must be true or false.'],
    ['batch_size: 3\n', 'Did you mean `run.batch_size`?'],
  ])('%j is refused: %s', (yaml, text) => {
    expect(refused(yaml).message).toContain(text);
  });

  test('a missing file is named with its absolute path', () => {
    const root = project({});
    expect(failure(() => loadConfig({ configPath: join(root, 'no.yaml'), env: {} })).message).toContain(
      `Config file not found: ${join(root, 'no.yaml')}`,
    );
    expect(failure(() => loadConfig({ configPath: root, env: {} })).message).toContain(
      `Config file not found: ${root}`,
    );
  });

  test('one mistake is reported once, without mistakes that only follow from it', () => {
    expect(
      refused('tools: {retrieval: {chunking: {chunk_size: x, chunk_overlap: 900}}}\n').problems,
    ).toHaveLength(1);
    expect(refused('run: {turns: {mode: exact, exact: 0}}\n').problems).toHaveLength(1);
  });

  test('secret values never appear', () => {
    const { message, problems } = refused(
      'store: {postgres: {dsn: [hunter2]}}\nllm: {routing: {endpoints: [[hunter2], {base_url: "ftp://u:hunter2@h", api_key: {a: hunter2}}]}}\n',
      {
        POSTGRES_DSN: '',
        LLM_ROUTING_ENDPOINTS_JSON: '[{"api_key": hunter2',
      },
    );
    expect(problems.length).toBeGreaterThan(3);
    expect(message + JSON.stringify(problems)).not.toContain('hunter2');
  });
});

describe('turns', () => {
  test('mode exact sets all three numbers; exact alone means mode exact', () => {
    expect(load('run: {turns: {mode: exact, exact: 5, min: 1, max: 9}}\n').config.run.turns).toMatchObject({
      mode: 'exact',
      exact: 5,
      min: 5,
      max: 5,
    });
    expect(load('run: {turns: {exact: 5}}\n').config.run.turns).toMatchObject({
      mode: 'exact',
      min: 5,
      max: 5,
    });
  });

  test('mode range has no exact number, and says so when one is given', () => {
    const { config, notices } = load('run: {turns: {mode: range, exact: 5, min: 1, max: 9}}\n');
    expect(config.run.turns).toMatchObject({ mode: 'range', exact: null, min: 1, max: 9 });
    expect(notices.join()).toContain('`run.turns.exact` has no effect');
    expect(load('run: {turns: {exact: 5, min: 1, max: 9}}\n').config.run.turns).toMatchObject({
      mode: 'range',
      exact: null,
    });
  });

  test('N_TURNS counts before MIN_TURNS and MAX_TURNS, which say that they have no effect', () => {
    const { config, notices } = load('run: {turns: {min: 2, max: 4}}\n', { N_TURNS: '6', MIN_TURNS: '3' });
    expect(config.run.turns).toMatchObject({ mode: 'exact', exact: 6, min: 6, max: 6 });
    expect(notices.join()).toContain('MIN_TURNS has no effect');
  });
});

describe('choices', () => {
  test('older spellings are read, with a notice', () => {
    const { config, notices } = load(
      'run: {turns: {distribution: exp}}\njudge: {granularity: per_conversation}\ntools: {retrieval: {reranker: {backend: qwen3}}}\n',
    );
    expect(config.run.turns.distribution).toBe('exponential');
    expect(config.judge.granularity).toBe('conversation');
    expect(config.tools.retrieval.reranker.backend).toBe('cross_encoder');
    expect(notices).toHaveLength(3);
  });

  test('`api` is as good as `openai`, and letters may be large', () => {
    const { config, notices } = load('llm: {backend: API}\njudge: {mode: Online}\n');
    expect(config.llm.backend).toBe('openai');
    expect(config.judge.mode).toBe('online');
    expect(notices).toEqual([]);
  });
});
