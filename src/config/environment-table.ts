import { AGENT_ROLES, type AgentRole } from './schema/llm.ts';

/** A variable that overrides one key. Where several name one key, the one listed first counts. */
export interface EnvironmentVariable {
  readonly name: string;
  readonly key: string;
  /** JSON text instead of a plain value. */
  readonly json?: 'object' | 'list';
  /** The variable that replaced this one. */
  readonly replacedBy?: string;
}

const plain = (prefix: string, names: Readonly<Record<string, string>>): EnvironmentVariable[] =>
  Object.entries(names).map(([name, key]) => ({ name, key: `${prefix}${key}` }));

/** The names under which 0.1.0's stages knew the roles; they win over the role's own. */
const STAGES: Readonly<Record<AgentRole, string>> = {
  user: 'QA_GENERATOR',
  assistant: 'KB_RESPONDER',
  judge: 'QA_JUDGE',
};

const ROLE_SUFFIXES: readonly (readonly [suffix: string, key: string, json?: 'list'])[] = [
  ['PROVIDER', 'provider'],
  ['MODEL', 'model'],
  ['BASE_URL', 'base_url'],
  ['TEMPERATURE', 'temperature'],
  ['MAX_TOKENS', 'max_tokens'],
  ['TOP_P', 'top_p'],
  ['TIMEOUT', 'timeout'],
  ['MAX_RETRIES', 'max_retries'],
  ['ROUTING_STRATEGY', 'routing.strategy'],
  ['ROUTING_ENDPOINTS_JSON', 'routing.endpoints', 'list'],
];

const roleVariables = (role: AgentRole): EnvironmentVariable[] =>
  [STAGES[role], role.toUpperCase()].flatMap((owner) =>
    ROLE_SUFFIXES.map(([suffix, key, json]) => ({
      name: `LLM_${owner}_${suffix}`,
      key: `llm.agents.${role}.${key}`,
      ...(json === undefined ? {} : { json }),
    })),
  );

/** Every variable that overrides the configuration. */
export const ENVIRONMENT_VARIABLES: readonly EnvironmentVariable[] = [
  ...plain('run.', {
    BATCH_SIZE: 'batch_size',
    TOTAL_SAMPLES: 'total_samples',
    TARGET_LANGUAGES: 'target_languages',
    RUN_ID: 'run_id',
    RESUME_RUN_ID: 'resume_run_id',
    N_TURNS: 'turns.exact',
    MIN_TURNS: 'turns.min',
    MAX_TURNS: 'turns.max',
    TURN_COUNT_DISTRIBUTION: 'turns.distribution',
    TURN_COUNT_MEAN: 'turns.mean',
    QUESTION_SEED: 'data.seeding.question',
    QUESTION: 'data.seeding.question',
    SEED_TOPICS_PATH: 'data.seeding.topics.path',
    SEED_TOPICS_ENABLED: 'data.seeding.topics.enabled',
    SEED_TOPICS_VARIANT: 'data.seeding.topics.variant',
    SEED_TOPICS_PROBABILITY: 'data.seeding.topics.probability',
  }),
  { name: 'TARGET_LANGUAGE', key: 'run.target_languages', replacedBy: 'TARGET_LANGUAGES' },
  ...plain('run.distributed.', {
    DISTRIBUTED_ENABLED: 'enabled',
    DISTRIBUTED_BACKEND: 'backend',
    DISTRIBUTED_SPAWN_COORDINATOR: 'spawn.coordinator',
    DISTRIBUTED_SPAWN_WORKERS: 'spawn.workers',
    DLGFORGE_NATS_URL: 'nats_url',
    DLGFORGE_NATS_TOKEN: 'nats_token',
    DLGFORGE_NATS_CA: 'tls.ca_file',
    DLGFORGE_NATS_CERT: 'tls.cert_file',
    DLGFORGE_NATS_KEY: 'tls.key_file',
    RAY_ADDRESS: 'address',
    RAY_AUTO_START_LOCAL: 'auto_start_local',
    RAY_NAMESPACE: 'namespace',
    RAY_ACTOR_NUM_CPUS: 'actor.num_cpus',
    RAY_ACTOR_NUM_GPUS: 'actor.num_gpus',
    RAY_COORDINATOR_NUM_CPUS: 'actor.coordinator_num_cpus',
    RAY_REPLICAS_QA: 'replicas_qa',
    RAY_REPLICAS_COMPLETE: 'replicas_complete',
  }),
  { name: 'DISTRIBUTED_EXECUTOR', key: 'run.distributed.backend', replacedBy: 'DISTRIBUTED_BACKEND' },
  ...plain('store.', {
    STORE_BACKEND: 'backend',
    POSTGRES_DSN: 'postgres.dsn',
    DLGFORGE_POSTGRES_DSN: 'postgres.dsn',
  }),
  ...plain('llm.', {
    LLM_MODE: 'backend',
    LLM_BACKEND: 'backend',
    LLM_ROUTING_STRATEGY: 'routing.strategy',
  }),
  { name: 'LLM_ROUTING_ENDPOINTS_JSON', key: 'llm.routing.endpoints', json: 'list' },
  ...AGENT_ROLES.flatMap(roleVariables),
  ...plain('coverage.', {
    DOC_COVERAGE_MODE: 'doc_coverage_mode',
    DOC_COVERAGE_EPSILON: 'doc_coverage_epsilon',
    DOC_COVERAGE_FRACTION: 'doc_coverage_fraction',
    QUESTION_DEDUP_RETRIES: 'question_dedup_retries',
  }),
  ...plain('tools.web_search.', {
    ENABLE_WEB_TOOLS: 'enabled',
    SERPER_NUM_RESULTS: 'serper_num_results',
    SERPER_TIMEOUT: 'serper_timeout',
  }),
  ...plain('tools.retrieval.', {
    KB_DEFAULT_K: 'top_k',
    KB_CHUNK_SIZE: 'chunking.chunk_size',
    KB_CHUNK_OVERLAP: 'chunking.chunk_overlap',
    KB_PERSIST_DIR: 'index.persist_dir',
    KB_REBUILD_INDEX: 'index.rebuild',
    KB_SKIP_IF_UNCHANGED: 'index.skip_if_unchanged',
    KB_EMBEDDING_BACKEND: 'embeddings.backend',
    EMBEDDING_MODEL_NAME: 'embeddings.model',
    FALLBACK_EMBEDDING_MODEL: 'embeddings.fallback_model',
    KB_EMBEDDING_DEVICE: 'embeddings.device',
    KB_FALLBACK_ON_CPU: 'embeddings.fallback_on_cpu',
  }),
  { name: 'KB_EMBEDDING_MODEL_KWARGS_JSON', key: 'tools.retrieval.embeddings.model_kwargs', json: 'object' },
  {
    name: 'KB_EMBEDDING_TOKENIZER_KWARGS_JSON',
    key: 'tools.retrieval.embeddings.tokenizer_kwargs',
    json: 'object',
  },
  {
    name: 'KB_EMBEDDING_ENCODE_KWARGS_JSON',
    key: 'tools.retrieval.embeddings.encode_kwargs',
    json: 'object',
  },
  ...plain('judge.', { JUDGE_MODE: 'mode', JUDGE_GRANULARITY: 'granularity', JUDGE_ENABLED: 'enabled' }),
  { name: 'OUTPUT_DIR', key: 'saving.output_dir' },
  ...plain('saving.hf_push.', {
    HF_PUSH_ENABLED: 'enabled',
    HF_AUTO_PUSH_ON_RUN: 'auto_push_on_run',
    HF_PUSH_REPO_ID: 'repo_id',
    HF_PUSH_REPO_TYPE: 'repo_type',
    HF_PUSH_EXPORT_DIR: 'export_dir',
    HF_PUSH_INCLUDE_RUN_STATE: 'include_run_state',
    HF_PUSH_PRIVATE: 'private',
    HF_PUSH_COMMIT_MESSAGE: 'commit_message',
    HF_PUSH_SOURCE_FILE: 'source_file',
    HF_PUSH_GENERATE_STATS: 'generate_stats',
    HF_PUSH_STATS_FILE: 'stats_file',
    HF_PUSH_GENERATE_PLOTS: 'generate_plots',
    HF_PUSH_PLOTS_DIR: 'plots_dir',
  }),
];

/** One variable per role holds the name of the variable that holds the key; the older name still counts. */
export const KEY_NAME_VARIABLES: Readonly<
  Record<AgentRole, { readonly name: string; readonly older: string }>
> = {
  user: { name: 'LLM_USER_API_KEY_ENV', older: 'LLM_QA_GENERATOR_API_KEY_ENV' },
  assistant: { name: 'LLM_ASSISTANT_API_KEY_ENV', older: 'LLM_KB_RESPONDER_API_KEY_ENV' },
  judge: { name: 'LLM_JUDGE_API_KEY_ENV', older: 'LLM_QA_JUDGE_API_KEY_ENV' },
};

/** The variables that override a key, the one that counts first. */
export const variablesOf = (key: string): readonly EnvironmentVariable[] =>
  ENVIRONMENT_VARIABLES.filter((variable) => variable.key === key);
