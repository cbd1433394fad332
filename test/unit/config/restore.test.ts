/** A configuration that travels: what arrives on another node, and what that node is told that it lacks. */
import { describe, expect, test } from 'vitest';
import type { Environment } from '../../../src/config/environment.ts';
import { checkRequirements } from '../../../src/config/requirements.ts';
import { type RestoredConfig, restoreConfig } from '../../../src/config/restore.ts';
import type { Config } from '../../../src/config/schema.ts';
import { storedConfig, storedConfigSchema } from '../../../src/config/stored-config.ts';
import { withoutSecrets } from '../../../src/config/show.ts';
import { load } from './project.ts';

/** As it comes out of the database. */
function sent(yaml: string, env: Environment = {}) {
  const loaded = load(yaml, env);
  const { keyVariables } = checkRequirements(loaded, 'run');
  const stored: unknown = JSON.parse(JSON.stringify(storedConfig(loaded, keyVariables)));
  return { loaded, stored: storedConfigSchema.parse(stored) };
}

function moved(yaml: string, from: Environment, to: Environment, own?: Config): RestoredConfig {
  return restoreConfig(sent(yaml, from).stored, to, own ?? null);
}

const OPENAI = 'llm: {agents: {user: {model: m}, assistant: {model: m}, judge: {model: m}}}';
const ALL_KEYS = { OPENAI_API_KEY: 'sk-submitter-000' };

describe('a configuration on another node', () => {
  test('is the same configuration', () => {
    const { loaded, stored } = sent(
      `
run: {target_languages: [en, fr], turns: {exact: 3, mode: exact}, data: {seeding: {question: "Why //x@y?"}}}
llm: {backend: rehearsal, rehearsal: {seed: 9}, vllm: {extra_args: [--seed, "1"], env: {A: b}}}
tools: {retrieval: {embeddings: {model_kwargs: {dtype: q8}}}}
store: {postgres: {dsn: "postgres://me:hunter2@db/data"}}
`,
      { TOTAL_SAMPLES: '7' },
    );
    const { config, lacks } = restoreConfig(stored, {}, loaded.config);
    expect(withoutSecrets(config)).toEqual(withoutSecrets(loaded.config));
    expect(config.run.total_samples).toBe(7);
    expect(lacks).toEqual({ work: [], knowledge: [], servers: [] });
  });

  test('takes no setting from the environment of the node, only secrets', () => {
    const { config, keys } = moved(OPENAI, ALL_KEYS, {
      TOTAL_SAMPLES: '99',
      LLM_USER_MODEL: 'another',
      LLM_BACKEND: 'rehearsal',
      OPENAI_API_KEY: 'sk-node',
      POSTGRES_DSN: 'postgres://me:secret@here/data',
    });
    expect(config.run.total_samples).toBe(0);
    expect(config.llm).toMatchObject({ backend: 'openai', agents: { user: { model: 'm' } } });
    expect(keys.user?.reveal()).toBe('sk-node');
  });

  test('is refused when it has settings that this build does not know', () => {
    const { stored } = sent(OPENAI, ALL_KEYS);
    const newer = { ...stored, values: { ...(stored.values as object), dreams: { enabled: true } } };
    expect(() => restoreConfig(newer, {})).toThrow(/same version of dlgforge on every node/);
  });
});

describe('the key of a role', () => {
  test('is called by the name of its variable when the node lacks it', () => {
    const { lacks, keys } = moved(`${OPENAI}\njudge: {mode: online}`, ALL_KEYS, {});
    expect(lacks.work).toEqual([
      'OPENAI_API_KEY for the user',
      'OPENAI_API_KEY for the assistant',
      'OPENAI_API_KEY for the judge',
    ]);
    expect(keys).toEqual({ user: null, assistant: null, judge: null });
  });

  test('of a role that does not play is not missed', () => {
    expect(moved(`${OPENAI}\njudge: {enabled: false}`, ALL_KEYS, {}).lacks.work).toHaveLength(2);
  });

  test('is found under the name that the submitter gave it', () => {
    const names = { LLM_USER_API_KEY_ENV: 'MY_KEY', LLM_ASSISTANT_API_KEY_ENV: 'MY_KEY', MY_KEY: 'sk-1' };
    const yaml = `${OPENAI}\njudge: {enabled: false}`;
    expect(moved(yaml, names, { MY_KEY: 'sk-2' }).keys.user?.reveal()).toBe('sk-2');
    expect(moved(yaml, names, { OPENAI_API_KEY: 'sk-3' }).keys.user?.reveal()).toBe('sk-3');
    expect(moved(yaml, names, {}).lacks.work[0]).toBe('MY_KEY for the user');
    const own = {
      LLM_USER_API_KEY_ENV: 'OTHER',
      LLM_ASSISTANT_API_KEY_ENV: 'OTHER',
      OTHER: 'sk-4',
      MY_KEY: 'sk-2',
    };
    expect(moved(yaml, names, own).keys.user?.reveal()).toBe('sk-4');
  });
});

describe('a key that stands in the configuration itself', () => {
  const yaml = `
judge: {enabled: false}
llm:
  routing: {endpoints: [{name: a, base_url: "https://api.openai.com/v1", model: m, api_key: inline-secret},
                        {name: b, base_url: "https://models.example/v1", model: m, api_key: inline-secret}]}
`;
  const keysOf = ({ config }: RestoredConfig) =>
    config.llm.routing.endpoints.map(({ api_key: key }) => key?.reveal() ?? null);

  test('is lacking elsewhere, and the words say why', () => {
    const restored = moved(yaml, {}, {});
    expect(keysOf(restored)).toEqual([null, null]);
    expect(restored.lacks.work).toEqual([
      expect.stringMatching(
        /^OPENAI_API_KEY for the endpoint a \(its key stands in the configuration of the/,
      ),
      expect.stringMatching(/^the key of the endpoint b \(it stands in .*name that with api_key_env/),
    ]);
  });

  test("is replaced by the node's own, under the name of the provider or in its list of endpoints", () => {
    const restored = moved(
      yaml,
      {},
      {
        OPENAI_API_KEY: 'sk-node',
        LLM_ROUTING_ENDPOINTS_JSON: JSON.stringify([
          { name: 'b', base_url: 'https://models.example/v1', api_key: 'b-node' },
        ]),
      },
    );
    expect(keysOf(restored)).toEqual(['sk-node', 'b-node']);
    expect(restored.lacks.work).toEqual([]);
  });

  test('counts in processes of the submitter', () => {
    const { loaded, stored } = sent(yaml);
    const restored = restoreConfig(stored, {}, loaded.config);
    expect(keysOf(restored)).toEqual(['inline-secret', 'inline-secret']);
    expect(restored.lacks.work).toEqual([]);
  });

  test('that means no key at all is not missed', () => {
    const vllm =
      'judge: {enabled: false}\nllm: {routing: {endpoints: [{base_url: "http://gpu:8000/v1", model: m, api_key: EMPTY}]}}';
    expect(moved(vllm, {}, {}).lacks.work).toEqual([]);
  });
});

describe('other secrets', () => {
  const yaml = `
judge: {enabled: false}
llm:
  agents:
    user: {model: m, base_url: "http://me:hunter2@gpu:8000/v1", extra: {extra_headers: {X-Team: hunter2}, top_k: 4}}
    assistant: {model: m, base_url: "http://127.0.0.1:8000/v1?api_key=hunter2&v=1"}
    judge: {model: m, extra: {token: hunter2}}
  vllm: {extra_args: [--api-key, hunter2, "--hf-token=hunter2", --seed, "1"], env: {HF_TOKEN: hunter2, A: b}}
`;

  test('never reach a server as three stars', () => {
    const { config, lacks } = moved(yaml, {}, {});
    expect(JSON.stringify(withoutSecrets(config))).not.toContain('***');
    expect(config.llm.agents.user).toMatchObject({ base_url: 'http://gpu:8000/v1', extra: { top_k: 4 } });
    expect(config.llm.agents.assistant.base_url).toBe('http://127.0.0.1:8000/v1?v=1');
    expect(config.llm.vllm).toMatchObject({ extra_args: ['--seed', '1'], env: { A: 'b' } });
    expect(lacks.servers).toEqual([]);
    expect(lacks.work.map((text) => text.split(' ')[0])).toEqual([
      'LLM_USER_API_KEY_ENV',
      'llm.agents.user.base_url',
      'llm.agents.user.extra.extra_headers.X-Team',
      'llm.agents.assistant.base_url',
    ]);
  });

  test('come from variables of the node where there are some', () => {
    const { config } = moved(
      yaml,
      {},
      {
        VLLM_API_KEY: 'v',
        HF_TOKEN: 'h',
        LLM_USER_BASE_URL: 'http://me:mine@gpu:8000/v1',
        LLM_ASSISTANT_BASE_URL: 'http://elsewhere/v1?api_key=mine',
      },
    );
    expect(config.llm.vllm.extra_args).toEqual(['--api-key', 'v', '--hf-token=h', '--seed', '1']);
    expect(config.llm.vllm.env).toEqual({ HF_TOKEN: 'h', A: 'b' });
    expect(config.llm.agents.user.base_url).toBe('http://me:mine@gpu:8000/v1');
    // Another server is another setting, not a secret of this one.
    expect(config.llm.agents.assistant.base_url).toBe('http://127.0.0.1:8000/v1?v=1');
  });

  test('of knowledge and web search are missed where the submitter had them', () => {
    const tools = `${OPENAI}
judge: {enabled: false}
tools: {web_search: {enabled: true}, retrieval: {embeddings: {backend: endpoint, base_url: "http://e/v1", api_key_env: E_KEY},
  reranker: {enabled: true, backend: endpoint, base_url: "http://r/v1", api_key_env: R_KEY}}}`;
    const from = { ...ALL_KEYS, E_KEY: 'e', R_KEY: 'r' };
    const node = { OPENAI_API_KEY: 'k' };
    expect(moved(tools, { ...from, SERPER_API_KEY: 's' }, node).lacks).toEqual({
      work: ['SERPER_API_KEY for web search'],
      knowledge: ['E_KEY for the embeddings', 'R_KEY for the reranker'],
      servers: [],
    });
    expect(moved(tools, from, node).lacks.work).toEqual([]);
  });
});
