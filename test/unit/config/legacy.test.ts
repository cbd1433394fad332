import { describe, expect, test } from 'vitest';
import { LEGACY_NAMES, RENAMED_KEYS } from '../../../src/config/legacy-table.ts';
import { KEYS, keyDefinition } from '../../../src/config/keys.ts';
import { configRows } from '../../../src/config/show.ts';
import { load, refused } from './project.ts';

function sample(key: string): unknown {
  const { meta } = keyDefinition(key);
  if (meta.choices !== undefined) return meta.choices.at(-1);
  if (meta.kind === 'boolean') return true;
  if (meta.kind === 'integer' || meta.kind === 'decimal')
    return key.endsWith('probability') || key.endsWith('top_p') ? 0.5 : 200;
  if (meta.kind === 'mapping') return { a: 1 };
  if (meta.kind === 'objects') return ['http://10.0.0.9:8000/v1'];
  return key.endsWith('base_url') ? 'http://10.0.0.9:8000/v1' : 'something';
}

const nested = (path: string, value: unknown): unknown =>
  path.split('.').reduceRight<unknown>((inner, part) => ({ [part]: inner }), value);

describe('every older name', () => {
  test.each(RENAMED_KEYS.map(({ from, to }) => [from, to] as const))(
    '%s is read as %s, with one notice that names it',
    (from, to) => {
      const value = sample(to);
      const loaded = load(JSON.stringify(nested(from, value)), {});
      const direct = load(JSON.stringify(nested(to, value)), {});
      expect(configRows(loaded).map(({ key, value: shown }) => [key, shown])).toEqual(
        configRows(direct).map(({ key, value: shown }) => [key, shown]),
      );
      expect(loaded.notices.filter((notice) => notice.includes('Deprecated'))).toEqual([
        expect.stringContaining(`\`${from}\` is now \`${to}\``),
      ]);
      expect(loaded.origins[to]).toMatch(/^file:.*config\.yaml:1$/);
    },
  );

  test('all of them stand for a key of today, and none is one', () => {
    for (const { from, to } of LEGACY_NAMES) {
      expect(KEYS.has(to), to).toBe(true);
      expect(KEYS.has(from), from).toBe(false);
    }
  });
});

describe('turns', () => {
  test('n_turns switches to exact even when the file says range', () => {
    const { config, notices } = load('run:\n  n_turns: 4\n  turns: {mode: range, min: 2, max: 9}\n');
    expect(config.run.turns).toMatchObject({ mode: 'exact', exact: 4, min: 4, max: 4 });
    expect(notices).toEqual(['config.yaml:2: Deprecated: `run.n_turns` is now `run.turns.exact`.']);
  });

  test('min_turns and max_turns count before the new keys', () => {
    expect(
      load('run: {min_turns: 3, max_turns: 7, turns: {min: 1, max: 2}}\n').config.run.turns,
    ).toMatchObject({ mode: 'range', min: 3, max: 7 });
  });

  test('n_turns beside min_turns or max_turns is a conflict', () => {
    const { message } = refused('run: {n_turns: 5, max_turns: 7}\n');
    expect(message).toContain('`run.n_turns`');
    expect(message).toContain('`run.min_turns`/`run.max_turns`');
  });

  test('unless they only repeat what run.turns says, as 0.1.0 wrote it', () => {
    expect(
      load('run: {n_turns: 9, min_turns: 2, max_turns: 9, turns: {mode: range, min: 2, max: 9}}\n').config.run
        .turns,
    ).toMatchObject({ mode: 'range', min: 2, max: 9, exact: null });
    expect(
      load('run: {n_turns: 3, min_turns: 3, max_turns: 3, turns: {mode: exact, exact: 3}}\n').config.run
        .turns,
    ).toMatchObject({ mode: 'exact', exact: 3 });
  });
});

describe('both names', () => {
  test('the seed question of today counts; two different old ones are a conflict', () => {
    expect(
      load('run: {seed_question: old, data: {seeding: {question: new}}}\n').config.run.data.seeding.question,
    ).toBe('new');
    expect(load('run: {question_seed: old}\n').config.run.data.seeding.question).toBe('old');
    expect(load('run: {question_seed: a, seed_question: a}\n').config.run.data.seeding.question).toBe('a');
    expect(refused('run: {question_seed: a, seed_question: b}\n').message).toContain(
      '`run.seed_question` and `run.question_seed` differ',
    );
  });

  test('ray.* counts before run.distributed.*, retrieval.* only where the new key is absent', () => {
    const { config, notices } = load(
      'ray: {namespace: old}\nretrieval: {default_k: 9, overlap: 20}\nrun: {distributed: {namespace: new}}\ntools: {retrieval: {top_k: 4}}\n',
    );
    expect(config.run.distributed.namespace).toBe('old');
    expect(config.tools.retrieval).toMatchObject({ top_k: 4, chunking: { chunk_overlap: 20 } });
    expect(notices.join('\n')).toContain(
      '`retrieval.default_k` is now `tools.retrieval.top_k`. Both are given: `tools.retrieval.top_k` counts.',
    );
  });

  test('agents of the old names are merged, and what the new ones say counts', () => {
    const { config } = load(
      'llm: {agents: {qa_generator: {model: old, temperature: 0.5}, user: {model: new}}}\n',
    );
    expect(config.llm.agents.user).toMatchObject({ model: 'new', temperature: 0.5, provider: 'openai' });
  });

  test('llm.mode and llm.backend may agree but not differ', () => {
    expect(load('llm: {mode: api, backend: openai}\n').config.llm.backend).toBe('openai');
    expect(refused('llm: {mode: vllm_attach, backend: openai}\n').message).toContain(
      '`llm.mode` and `llm.backend` differ',
    );
  });
});

test('what never was a key of an old section is reported with the key that was meant', () => {
  const { problems } = refused('retrieval:\n  defualt_k: 3\nmodels: {colour: red}\n');
  expect(problems).toContainEqual(
    expect.objectContaining({
      keyPath: 'retrieval.defualt_k',
      line: 2,
      hint: 'Did you mean `tools.retrieval.top_k`?',
    }),
  );
  expect(problems).toContainEqual(expect.objectContaining({ keyPath: 'models.colour' }));
});

test('old sections and keys without a value say nothing', () => {
  expect(
    load('ray:\nretrieval:\nmodels: {}\nrun: {n_turns: , seed_question: "", distributed: {ray: {actor: }}}\n')
      .notices,
  ).toEqual([]);
});

test('a configuration as 0.1.0 shipped it loads', () => {
  const { config, notices } = load(OLD_CONFIG);
  expect(config.run.target_languages).toEqual(['morocco', 'msa', 'gulf', 'english', 'levantine']);
  expect(config.llm.agents.judge).toMatchObject({
    provider: 'gemini',
    model: 'gemini/gemini-3-flash-preview',
  });
  expect(config.run.distributed).toMatchObject({ address: 'auto', replicas_qa: 2, actor: { num_gpus: 0 } });
  expect(notices.every((notice) => /Deprecated|older spelling/.test(notice))).toBe(true);
});

const OLD_CONFIG = `
run:
  batch_size: 2
  total_samples: 1024
  target_languages: [morocco, msa, gulf, english, levantine]
  run_id: ""
  resume_run_id: ""
  turns: {mode: range, exact: null, min: 2, max: 12, distribution: poisson, mean: 6.0}
  data: {seeding: {question: "", topics: {path: data/seeds/topics.yaml, enabled: false, variant: "", probability: 0.35}}}
  distributed:
    enabled: false
    backend: ray
    spawn: {coordinator: true, workers: true}
    ray:
      address: auto
      auto_start_local: true
      namespace: dlgforge
      actor: {num_cpus: 1.0, num_gpus: 0.0, coordinator_num_cpus: 1.0, replicas_qa: 2, replicas_complete: 2}
store: {backend: postgres, postgres: {dsn: "", min_pool_size: 5, max_pool_size: 30, statement_timeout_ms: 30000}}
llm:
  mode: api
  routing: {strategy: weighted_least_inflight, endpoints: []}
  vllm: {model: openai/gpt-oss-20b, served_model_name: gpt_oss_20b, replicas: 1, num_gpus_per_replica: 1, host: 0.0.0.0, advertise_host: 127.0.0.1, port_start: 18000, tensor_parallel_size: 1, gpu_memory_utilization: 0.9, max_num_seqs: 256, health_timeout_s: 180, auto_stop_on_exit: true}
  agents:
    user: {provider: openai, model: gpt-5.2, base_url: "https://api.openai.com/v1", temperature: null, max_tokens: null, top_p: null, timeout: null, max_retries: null, extra: {}}
    assistant: {provider: gemini, model: gemini/gemini-3-flash-preview, base_url: ""}
    judge: {provider: gemini, model: gemini/gemini-3-flash-preview, base_url: ""}
coverage: {doc_coverage_mode: balanced, doc_coverage_epsilon: 0.15, doc_coverage_fraction: 0.2, question_dedup_retries: 3}
tools:
  web_search: {enabled: false, serper_num_results: 5, serper_timeout: 30}
  retrieval:
    top_k: 4
    chunking: {chunk_size: 750, chunk_overlap: 150}
    index: {persist_dir: knowledge_index, rebuild: false, skip_if_unchanged: true}
    embeddings: {backend: sentence_transformers, model: sentence-transformers/all-MiniLM-L6-v2, fallback_model: sentence-transformers/all-MiniLM-L6-v2, device: auto, fallback_on_cpu: true, model_kwargs: {}, tokenizer_kwargs: {}, encode_kwargs: {}}
    reranker: {enabled: false, model: Qwen/Qwen3-Reranker-4B, backend: qwen3, instruction: "Given a query, retrieve.", max_length: 8192, candidates: 12, batch_size: 16, cmd: null}
personas: {enabled: true, path: src/dlgforge/prompts/personas.yaml}
judge: {enabled: true, mode: online, granularity: turn, reasons: [irrelevant, other]}
saving:
  output_dir: outputs
  output_columns: {messages: messages, messages_with_tools: messages_with_tools, metadata: metadata, user_reasoning: user_reasoning, assistant_reasoning: assistant_reasoning, judge: judge}
  hf_push: {enabled: true, auto_push_on_run: true, repo_id: somebody/some-dataset, repo_type: dataset, export_dir: hf_export, include_run_state: false, private: true, commit_message: Update synthetic dataset export, source_file: conversations_sharegpt.jsonl, generate_stats: true, stats_file: dataset_stats.json, generate_plots: true, plots_dir: data_stats/plots, clean_remote: false}
`;
