/** A key of 0.1.0 and where it is now. */
export interface RenamedKey {
  readonly from: string;
  readonly to: string;
  /** Which of the two counts when a file has both (as in 0.1.0). */
  readonly wins: 'old' | 'new';
}

const under = (
  fromPrefix: string,
  toPrefix: string,
  wins: 'old' | 'new',
  names: Readonly<Record<string, string>>,
): RenamedKey[] =>
  Object.entries(names).map(([from, to]) => ({
    from: `${fromPrefix}.${from}`,
    to: `${toPrefix}.${to}`,
    wins,
  }));

const RETRIEVAL = {
  default_k: 'top_k',
  chunk_size: 'chunking.chunk_size',
  chunk_overlap: 'chunking.chunk_overlap',
  overlap: 'chunking.chunk_overlap',
  persist_dir: 'index.persist_dir',
  rebuild_index: 'index.rebuild',
  skip_if_unchanged: 'index.skip_if_unchanged',
  embedding_backend: 'embeddings.backend',
  embedding_model: 'embeddings.model',
  embedding_device: 'embeddings.device',
  fallback_on_cpu: 'embeddings.fallback_on_cpu',
  embedding_model_kwargs: 'embeddings.model_kwargs',
  embedding_tokenizer_kwargs: 'embeddings.tokenizer_kwargs',
  embedding_encode_kwargs: 'embeddings.encode_kwargs',
};

const RAY = {
  address: 'address',
  auto_start_local: 'auto_start_local',
  namespace: 'namespace',
  'actor.num_cpus': 'actor.num_cpus',
  'actor.num_gpus': 'actor.num_gpus',
  'actor.coordinator_num_cpus': 'actor.coordinator_num_cpus',
  'actor.replicas_qa': 'replicas_qa',
  'actor.replicas_complete': 'replicas_complete',
};

const AGENTS = { qa_generator: 'user', kb_responder: 'assistant', qa_judge: 'judge' } as const;
const AGENT_KEYS = [
  'provider',
  'model',
  'base_url',
  'temperature',
  'max_tokens',
  'top_p',
  'timeout',
  'max_retries',
  'extra',
  'routing.strategy',
  'routing.endpoints',
];

/** Keys that only moved. The turn, seed-question and language keys have rules of their own. */
export const RENAMED_KEYS: readonly RenamedKey[] = [
  ...under('run', 'run', 'old', {
    turn_count_distribution: 'turns.distribution',
    turn_count_mean: 'turns.mean',
    seed_topics_path: 'data.seeding.topics.path',
    seed_topics_variant: 'data.seeding.topics.variant',
    seed_topics_probability: 'data.seeding.topics.probability',
    seed_topics_enabled: 'data.seeding.topics.enabled',
  }),
  { from: 'run.distributed.executor', to: 'run.distributed.backend', wins: 'new' },
  ...under('run.distributed.ray', 'run.distributed', 'new', RAY),
  ...under('ray', 'run.distributed', 'old', RAY),
  // The tree of 0.1.0 had these directly in `tools.retrieval` too, after loading.
  ...under('tools.retrieval', 'tools.retrieval', 'new', RETRIEVAL),
  ...under('retrieval', 'tools.retrieval', 'new', RETRIEVAL),
  ...under(
    'retrieval',
    'tools.retrieval',
    'new',
    Object.fromEntries(nestedRetrieval().map((key) => [key, key])),
  ),
  ...under('models', 'tools.retrieval', 'new', {
    embedding_model: 'embeddings.model',
    fallback_embedding_model: 'embeddings.fallback_model',
    use_reranker: 'reranker.enabled',
    reranker_model: 'reranker.model',
    reranker_backend: 'reranker.backend',
    reranker_instruction: 'reranker.instruction',
    reranker_max_length: 'reranker.max_length',
    reranker_candidates: 'reranker.candidates',
    reranker_batch_size: 'reranker.batch_size',
    qwen3_reranker_cmd: 'reranker.cmd',
  }),
  ...under('tools', 'tools.web_search', 'new', {
    web_search_enabled: 'enabled',
    serper_num_results: 'serper_num_results',
    serper_timeout: 'serper_timeout',
  }),
  ...Object.entries(AGENTS).flatMap(([old, role]) =>
    under(
      `llm.agents.${old}`,
      `llm.agents.${role}`,
      'new',
      Object.fromEntries(AGENT_KEYS.map((key) => [key, key])),
    ),
  ),
  {
    from: 'saving.output_columns.message_with_tools',
    to: 'saving.output_columns.messages_with_tools',
    wins: 'new',
  },
];

/** Files that already used the new names, but in the old place. */
function nestedRetrieval(): string[] {
  return [
    'top_k',
    'chunking.chunk_size',
    'chunking.chunk_overlap',
    'index.persist_dir',
    'index.rebuild',
    'index.skip_if_unchanged',
    'embeddings.backend',
    'embeddings.model',
    'embeddings.fallback_model',
    'embeddings.device',
    'embeddings.fallback_on_cpu',
    'embeddings.model_kwargs',
    'embeddings.tokenizer_kwargs',
    'embeddings.encode_kwargs',
    'reranker.enabled',
    'reranker.model',
    'reranker.backend',
    'reranker.instruction',
    'reranker.max_length',
    'reranker.candidates',
    'reranker.batch_size',
    'reranker.cmd',
  ];
}

/** Every older name and the key that it stands for, for the documentation. */
export const LEGACY_NAMES: readonly { readonly from: string; readonly to: string }[] = [
  { from: 'run.n_turns', to: 'run.turns.exact' },
  { from: 'run.min_turns', to: 'run.turns.min' },
  { from: 'run.max_turns', to: 'run.turns.max' },
  { from: 'run.seed_question', to: 'run.data.seeding.question' },
  { from: 'run.question_seed', to: 'run.data.seeding.question' },
  { from: 'run.target_language', to: 'run.target_languages' },
  { from: 'llm.mode', to: 'llm.backend' },
  ...RENAMED_KEYS,
];
