import { describe, expect, test } from 'vitest';
import { resolveCredentials } from '../../../src/config/credentials.ts';
import { customaryKeyVariable, isLoopback } from '../../../src/config/provider-keys.ts';
import { checkRequirements } from '../../../src/config/requirements.ts';
import { problemsError, type ConfigProblem } from '../../../src/config/problem.ts';
import { providerNamed } from '../../../src/llm/providers.ts';
import { load, refused } from './project.ts';

const MODELS = 'agents: {user: {model: a}, assistant: {model: b}, judge: {model: c}}';
const resolve = (yaml: string, env: Record<string, string> = {}, roles = ['user', 'assistant'] as const) =>
  resolveCredentials(load(yaml).config, env, roles);
const text = (problems: readonly ConfigProblem[]): string => problemsError('credentials', problems).message;

describe('mapping variables', () => {
  test('name the variable that holds the key, trimmed', () => {
    const { keys, problems } = resolve('', {
      LLM_USER_API_KEY_ENV: ' K ',
      K: ' secret ',
      LLM_ASSISTANT_API_KEY_ENV: 'K',
    });
    expect(problems).toEqual([]);
    expect(keys.user?.reveal()).toBe('secret');
    expect(keys.assistant?.reveal()).toBe('secret');
    expect(keys.judge).toBeNull();
  });

  test('the older name counts when it is alone, with a notice', () => {
    const both = resolve('', {
      LLM_USER_API_KEY_ENV: 'A',
      LLM_QA_GENERATOR_API_KEY_ENV: 'B',
      LLM_KB_RESPONDER_API_KEY_ENV: 'B',
      A: 'a',
      B: 'b',
    });
    expect([both.keys.user?.reveal(), both.keys.assistant?.reveal()]).toEqual(['a', 'b']);
    expect(both.notices.join()).toContain(
      'LLM_QA_GENERATOR_API_KEY_ENV is now LLM_USER_API_KEY_ENV. Both are set and differ: LLM_USER_API_KEY_ENV counts.',
    );
  });

  test('what is missing is named for every role at once', () => {
    const { problems } = resolve('', { LLM_ASSISTANT_API_KEY_ENV: 'K', K: '  ' });
    expect(text(problems)).toContain(
      'Missing required API key mapping environment variable `LLM_USER_API_KEY_ENV` for agent `user`',
    );
    expect(text(problems)).toContain(
      'Missing or empty provider API key environment variable `K` (configured by `LLM_ASSISTANT_API_KEY_ENV`) for agent `assistant`',
    );
    expect(problems.map(({ variable }) => variable)).toEqual(['LLM_USER_API_KEY_ENV', 'K']);
  });
});

test('a key where its variable should be named is refused without being shown (I8)', () => {
  for (const key of ['sk-proj-hunter2', 'gsk_hunter2hunter2', 'hf_hunter2']) {
    const { problems } = resolve('', { LLM_USER_API_KEY_ENV: key, LLM_ASSISTANT_API_KEY_ENV: 'K', K: 'k' });
    expect(text(problems)).toContain(
      '`LLM_USER_API_KEY_ENV` must be the name of an environment variable, not the key itself.',
    );
    expect(text(problems)).not.toContain('hunter2');
    const yaml = `llm: {routing: {endpoints: [{base_url: "http://a/v1", api_key_env: ${key}}]}}`;
    expect(refused(yaml).message).toContain('not the key itself');
    expect(refused(yaml).message).not.toContain('hunter2');
  }
});

describe('the customary variable of a provider', () => {
  test('is used when there is no mapping, and that is said', () => {
    const { keys, variables, problems } = resolve(
      'llm: {agents: {user: {provider: openai}, assistant: {model: gemini/flash}}}',
      { OPENAI_API_KEY: 'o', GEMINI_API_KEY: 'g' },
    );
    expect(problems).toEqual([]);
    expect([keys.user?.reveal(), keys.assistant?.reveal()]).toEqual(['o', 'g']);
    expect(variables).toEqual({ user: 'OPENAI_API_KEY', assistant: 'GEMINI_API_KEY', judge: null });
  });

  test('is never sent to an address of somebody else', () => {
    expect(
      resolve(
        'llm: {agents: {user: {provider: openai, base_url: "https://models.example/v1"}}}',
        { OPENAI_API_KEY: 'o' },
        ['user'] as never,
      ).problems,
    ).toHaveLength(1);
    expect(
      customaryKeyVariable({ provider: 'gemini', model: '', base_url: 'https://api.openai.com/v1' }),
    ).toBe('OPENAI_API_KEY');
  });

  test.each(['openai', 'gemini', 'anthropic', 'deepseek', 'mistral', 'groq', 'together', 'openrouter'])(
    'agrees with the model layer for %s',
    (name) => {
      const provider = providerNamed(name);
      expect(customaryKeyVariable({ provider: name, model: '', base_url: '' })).toBe(provider.keyVariable);
      expect(customaryKeyVariable({ provider: name, model: '', base_url: provider.baseUrl ?? '' })).toBe(
        provider.keyVariable,
      );
    },
  );
});

describe('E5, E17: which roles need a key', () => {
  test.each([
    ['the rehearsal', 'llm: {backend: rehearsal}'],
    [
      'a loopback base_url',
      'llm: {agents: {user: {base_url: "http://127.0.0.1:1234/v1"}, assistant: {base_url: "http://[::1]:1/v1"}}}',
    ],
    ['a local provider', 'llm: {agents: {user: {provider: ollama}, assistant: {provider: lm_studio}}}'],
    ['listed loopback endpoints', 'llm: {routing: {endpoints: ["http://localhost:8000/v1"]}}'],
    ['servers of our own', 'llm: {backend: vllm_managed, vllm: {model: m}}'],
  ])('%s needs none', (_, yaml) => {
    const { keys, problems } = resolve(yaml);
    expect(problems).toEqual([]);
    expect(keys).toEqual({ user: null, assistant: null, judge: null });
  });

  test('a listed endpoint uses its own key, never the one of a role', () => {
    const yaml =
      'llm: {routing: {endpoints: [{base_url: "http://10.0.0.2/v1", api_key_env: EP}, "http://10.0.0.3/v1"]}}';
    const env = { LLM_USER_API_KEY_ENV: 'K', K: 'role key', EP: 'endpoint key' };
    const { keys, problems, notices } = resolve(yaml, env);
    expect(problems).toEqual([]);
    expect(keys.user).toBeNull();
    expect(notices.join()).toContain('`http://10.0.0.3/v1` is called without a key');
    expect(text(resolve(yaml, {}).problems)).toContain('Missing or empty environment variable `EP`');
  });

  test('a role that names another service keeps it, and needs its key', () => {
    const yaml =
      'llm: {routing: {endpoints: ["http://127.0.0.1:8000/v1"]}, agents: {assistant: {provider: gemini}}}';
    expect(resolve(yaml).problems.map(({ variable }) => variable)).toEqual(['LLM_ASSISTANT_API_KEY_ENV']);
  });

  test.each([
    ['http://127.8.9.1:1', true],
    ['http://localhost', true],
    ['http://a.localhost/v1', true],
    ['http://[::1]:8/v1', true],
    ['http://127.0.0.1.evil.example', false],
    ['http://10.0.0.1', false],
    ['https://localhost.evil.example', false],
    ['nonsense', false],
  ])('%s is loopback: %s', (url, expected) => {
    expect(isLoopback(url)).toBe(expected);
  });
});

describe('requirements of a command', () => {
  test('all at once: models, backend, files, keys', () => {
    const loaded = load(
      'llm: {backend: vllm_attach}\npersonas: {path: mine.yaml}\nprompts: {path: mine}\nrun: {data: {seeding: {topics: {path: seeds.yaml}}}}\ntools: {retrieval: {embeddings: {backend: endpoint}}, web_search: {enabled: true}}\n',
    );
    const { problems, notices } = checkRequirements(loaded, 'run');
    const report = text(problems);
    for (const part of [
      'Missing LLM model for required agent(s): user, assistant',
      'requires llm.routing.endpoints with at least one endpoint',
      'Persona file not found',
      'Prompts folder not found',
      'Seed topics not found',
      '`tools.retrieval.embeddings.base_url` is required',
      'LLM_USER_API_KEY_ENV',
    ]) {
      expect(report).toContain(part);
    }
    expect(notices.join()).toContain('SERPER_API_KEY');
  });

  test('a complete configuration has none', () => {
    expect(
      checkRequirements(load(`llm: {${MODELS}}\njudge: {mode: online}`, { OPENAI_API_KEY: 'k' }), 'run')
        .problems,
    ).toEqual([]);
    expect(checkRequirements(load('llm: {backend: rehearsal}'), 'run').problems).toEqual([]);
    expect(checkRequirements(load('llm: {backend: vllm_managed, vllm: {model: m}}'), 'run').problems).toEqual(
      [],
    );
  });
});
