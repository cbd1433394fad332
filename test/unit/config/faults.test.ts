/** The faults of 0.1.0 that concern the configuration, by the numbers of the contract's section 11. */
import { describe, expect, test } from 'vitest';
import { starterConfig } from '../../../src/config/init-config.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { personasFile } from '../../../src/config/paths.ts';
import { checkRequirements } from '../../../src/config/requirements.ts';
import { endpointsOf, modelOf, rolesFor } from '../../../src/config/roles.ts';
import { defaultConfig } from '../../../src/config/schema.ts';
import { load, project, refused } from './project.ts';

test('A4: an export folder that holds the results or the project is refused', () => {
  for (const folder of ['.', '..', '../..', '/', '../outputs'])
    expect(refused(`saving: {hf_push: {export_dir: "${folder}"}}`).message).toContain(
      'must be a folder of its own',
    );
  expect(load('saving: {hf_push: {export_dir: ../elsewhere}}').config.saving.hf_push.export_dir).toBe(
    '../elsewhere',
  );
});

test('E3: endpoints of one role stay with that role', () => {
  const { config } = load('llm: {routing: {endpoints: ["http://a/v1"]}}', {
    LLM_USER_ROUTING_ENDPOINTS_JSON: '["http://b/v1"]',
  });
  expect(endpointsOf(config, 'user').map(({ base_url }) => base_url)).toEqual(['http://b/v1']);
  expect(endpointsOf(config, 'assistant').map(({ base_url }) => base_url)).toEqual(['http://a/v1']);
  expect(config.llm.routing.endpoints).toHaveLength(1);
});

test('E6: a role that names another service is not sent to the shared endpoints, unless they name it', () => {
  const yaml = (roles: string): string =>
    `llm: {routing: {endpoints: [{base_url: "http://a/v1"${roles}}]}, agents: {judge: {provider: gemini}}}`;
  expect(endpointsOf(load(yaml('')).config, 'judge')).toEqual([]);
  expect(endpointsOf(load(yaml(', roles: [judge]')).config, 'judge')).toHaveLength(1);
  expect(endpointsOf(load(yaml(', roles: [judge]')).config, 'user')).toEqual([]);
});

test('E7: an endpoint that is only text is a base URL', () => {
  expect(
    load('llm: {routing: {endpoints: ["http://a:1/v1"]}}').config.llm.routing.endpoints[0]?.base_url,
  ).toBe('http://a:1/v1');
});

test('E15: a mistyped judge mode is an error before anything is paid', () => {
  expect(refused('judge: {mode: onlien}').message).toContain(
    '`judge.mode` must be either `online` or `offline`.',
  );
});

test('E17: no dummy key is needed for a local endpoint', () => {
  const loaded = load(
    'llm: {agents: {user: {model: m, base_url: "http://127.0.0.1:1/v1"}, assistant: {model: m, base_url: "http://localhost:1/v1"}}}',
  );
  expect(checkRequirements(loaded, 'run').problems).toEqual([]);
});

test('F5: overlap 0 is 0, and an overlap that never ends is refused', () => {
  expect(
    load('tools: {retrieval: {chunking: {chunk_size: 100, chunk_overlap: 0}}}').config.tools.retrieval
      .chunking,
  ).toEqual({ chunk_size: 100, chunk_overlap: 0 });
  expect(refused('tools: {retrieval: {chunking: {chunk_size: 100}}}').message).toContain('chunk_overlap');
});

test('G1: the variables of turns and seed topics do what their names say', () => {
  const yaml =
    'run: {turns: {min: 2, max: 4, distribution: poisson, mean: 3}, data: {seeding: {topics: {path: a.yaml, variant: v, probability: 0.2, enabled: true}}}}';
  expect(load(yaml, { N_TURNS: '3' }).config.run.turns).toMatchObject({ mode: 'exact', exact: 3 });
  expect(
    load(yaml, { MIN_TURNS: '3', MAX_TURNS: '9', TURN_COUNT_DISTRIBUTION: 'uniform', TURN_COUNT_MEAN: '5' })
      .config.run.turns,
  ).toMatchObject({ min: 3, max: 9, distribution: 'uniform', mean: 5 });
  const topics = load(yaml, {
    SEED_TOPICS_PATH: 'b.yaml',
    SEED_TOPICS_VARIANT: 'w',
    SEED_TOPICS_PROBABILITY: '0.9',
    SEED_TOPICS_ENABLED: 'false',
  }).config.run.data.seeding.topics;
  expect(topics).toEqual({ path: 'b.yaml', variant: 'w', probability: 0.9, enabled: false });
});

test('G2: a variable that equals the default overrides the file', () => {
  const { config, origins } = load('tools: {retrieval: {top_k: 8, index: {rebuild: true}}}', {
    KB_DEFAULT_K: '4',
    KB_REBUILD_INDEX: 'false',
  });
  expect(config.tools.retrieval).toMatchObject({ top_k: 4, index: { rebuild: false } });
  expect(origins['tools.retrieval.top_k']).toBe('env:KB_DEFAULT_K');
});

test('G3: llm.backend in the file counts', () => {
  expect(load('llm: {backend: vllm_attach}').config.llm.backend).toBe('vllm_attach');
});

test('G4: LLM_MODE counts before LLM_BACKEND', () => {
  expect(
    load('llm: {backend: openai}', { LLM_BACKEND: 'vllm_managed', LLM_MODE: 'vllm_attach' }).config.llm
      .backend,
  ).toBe('vllm_attach');
  expect(load('', { LLM_BACKEND: 'vllm_managed' }).config.llm.backend).toBe('vllm_managed');
});

test('G5: a badly typed variable is an error that names it', () => {
  const { problems } = refused('', { BATCH_SIZE: 'abc', TURN_COUNT_MEAN: 'x', LLM_USER_MAX_TOKENS: '1.5' });
  expect(problems.map(({ variable }) => variable)).toEqual([
    'BATCH_SIZE',
    'TURN_COUNT_MEAN',
    'LLM_USER_MAX_TOKENS',
  ]);
});

test('G6: a section without a value counts as absent', () => {
  const yaml = ['run', 'store', 'llm', 'coverage', 'tools', 'personas', 'prompts', 'judge', 'saving']
    .map((name) => `${name}:\n`)
    .join('');
  expect(load(yaml).config).toEqual(defaultConfig());
  expect(load('saving: {output_columns: , hf_push: null}\njudge: {reasons: }\n').config).toEqual(
    defaultConfig(),
  );
});

test('G7: quoted truth values are truth values', () => {
  const { config, notices } = load(
    'personas: {enabled: "false"}\njudge: {enabled: "no"}\nsaving: {hf_push: {private: "0"}}\n',
  );
  expect([config.personas.enabled, config.judge.enabled, config.saving.hf_push.private]).toEqual([
    false,
    false,
    false,
  ]);
  expect(notices).toEqual([]);
});

test('G8: loading leaves the environment as it is, so a second run has its own values', () => {
  const before = { ...process.env };
  expect(load('coverage: {doc_coverage_epsilon: 0.5}').config.coverage.doc_coverage_epsilon).toBe(0.5);
  expect(load('coverage: {doc_coverage_epsilon: 0.7}').config.coverage.doc_coverage_epsilon).toBe(0.7);
  expect({ ...process.env }).toEqual(before);
});

describe('G9', () => {
  test('without a file of their own, users get the shipped personas; a named file that is missing is an error', () => {
    const { config, projectRoot } = load('');
    expect(personasFile(config, projectRoot)).toMatchObject({ type: 'shipped' });
    const old = load('personas: {path: src/dlgforge/prompts/personas.yaml}');
    expect(personasFile(old.config, old.projectRoot)).toMatchObject({ type: 'shipped' });
    const wrong = load('personas: {path: perosnas.yaml}');
    expect(personasFile(wrong.config, wrong.projectRoot)).toMatchObject({ type: 'missing' });
  });
});

test('G10: unknown keys are reported with the nearest known one', () => {
  expect(refused('run: {batchsize: 3}').message).toContain('Did you mean `run.batch_size`?');
  expect(refused('judges: {mode: online}').message).toContain('Did you mean `judge`?');
  expect(refused('saving: {hf_push: {clean_remotes: true}}').message).toContain(
    'Did you mean `saving.hf_push.clean_remote`?',
  );
  expect(refused('run: {zzzzzzzz: 3}').message).toContain('Keys here: batch_size');
  expect(refused('run.batch_size: 3').message).toContain('Write it as sections: `run: {batch_size: …}`');
});

describe('G11: there is no interpolation, and that is said', () => {
  test('a key that its own variable sets is left to it', () => {
    const yaml = 'store: {postgres: {dsn: "${DLGFORGE_POSTGRES_DSN}"}}';
    expect(load(yaml).config.store.postgres.dsn).toBeNull();
    expect(load(yaml).notices.join()).toContain('DLGFORGE_POSTGRES_DSN');
    expect(load(yaml, { DLGFORGE_POSTGRES_DSN: 'postgres://a/b' }).config.store.postgres.dsn?.reveal()).toBe(
      'postgres://a/b',
    );
  });

  test('anywhere else it is an error that names the variable to use', () => {
    expect(refused('saving: {output_dir: "${HOME}/out"}').message).toContain(
      'set the environment variable OUTPUT_DIR',
    );
    expect(
      refused('llm: {routing: {endpoints: [{base_url: "http://a/v1", api_key: "${EP_KEY}"}]}}').message,
    ).toContain('`api_key_env: EP_KEY`');
    expect(refused('run: {batch_size: "${N}"}').message).toContain('BATCH_SIZE');
  });

  test('in prose it may be meant', () => {
    expect(load('run: {data: {seeding: {question: "What is ${x}?"}}}').config.run.data.seeding.question).toBe(
      'What is ${x}?',
    );
  });
});

test('G12: a run id is safe as a file name', () => {
  for (const id of ['../../x', 'a/b', '.hidden', 'a b', 'x'.repeat(129), 'é']) {
    expect(refused(`run: {run_id: "${id}"}`).message).toContain('`run.run_id` must be safe as a file name');
    expect(refused('', { RESUME_RUN_ID: id }).message).toContain('RESUME_RUN_ID');
  }
  expect(load('run: {run_id: my.run_1-B}').config.run.run_id).toBe('my.run_1-B');
});

test('G13: nothing is pushed unless the operator says where', () => {
  expect(defaultConfig().saving.hf_push).toMatchObject({
    enabled: false,
    auto_push_on_run: false,
    repo_id: '',
  });
  expect(starterConfig()).not.toContain('hf_push');
});

test('G14: .env may carry the DSN and overrides', () => {
  const root = project({
    'c.yaml': '',
    '.env':
      'POSTGRES_DSN=postgres://u:pw@h/d\nDLGFORGE_NATS_URL=nats://h:4222\nOUTPUT_DIR=elsewhere\nLLM_USER_MODEL=m\n',
  });
  const { config, notices } = loadConfig({ configPath: `${root}/c.yaml`, env: {} });
  expect(config.store.postgres.dsn?.reveal()).toBe('postgres://u:pw@h/d');
  expect(config.run.distributed.nats_url?.reveal()).toBe('nats://h:4222');
  expect([config.saving.output_dir, config.llm.agents.user.model]).toEqual(['elsewhere', 'm']);
  expect(notices).toEqual([]);
});

test('G15: the judge command judges in offline mode too', () => {
  const { config } = load('judge: {mode: offline}');
  expect(rolesFor(config, 'judge')).toEqual(['judge']);
  expect(rolesFor(config, 'run')).toEqual(['user', 'assistant']);
  expect(rolesFor(load('judge: {mode: online}').config, 'run')).toEqual(['user', 'assistant', 'judge']);
});

test('G16: columns have different names, and a blank one keeps its own', () => {
  const { message } = refused('saving: {output_columns: {messages: x, judge: x}}');
  expect(message).toContain(
    '`saving.output_columns.messages` and `saving.output_columns.judge` have the same name "x"',
  );
  expect(refused('saving: {output_columns: {messages: metadata}}').problems[0]?.line).toBe(1);
  const { config, notices } = load('saving: {output_columns: {messages: "  "}}');
  expect(config.saving.output_columns.messages).toBe('messages');
  expect(notices).toHaveLength(1);
});

test('G17: run.target_language alone counts', () => {
  expect(load('run: {target_language: fr}').config.run.target_languages).toEqual(['fr']);
  expect(load('run: {target_language: fr, target_languages: []}').config.run.target_languages).toEqual([
    'fr',
  ]);
  expect(load('run: {target_language: fr, target_languages: [ar]}').config.run.target_languages).toEqual([
    'ar',
  ]);
});

test('H10, H15: without clusters too, the backend says who serves, and its model serves every role', () => {
  const { config } = load(
    'llm: {backend: vllm_managed, vllm: {model: m, served_model_name: s}, agents: {judge: {provider: gemini, model: g}}}',
  );
  expect((['user', 'assistant', 'judge'] as const).map((role) => modelOf(config, role))).toEqual([
    's',
    's',
    'g',
  ]);
  expect(
    checkRequirements(
      load('llm: {backend: vllm_attach, agents: {user: {model: m}, assistant: {model: m}}}'),
      'run',
    )
      .problems.map(({ message }) => message)
      .join(),
  ).toContain('vllm_attach requires');
});
