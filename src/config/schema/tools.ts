import {
  choice,
  decimal,
  flag,
  integer,
  mapping,
  nullableInteger,
  nullableText,
  section,
  text,
  variableName,
} from './fields.ts';

const EMBEDDING_MODEL = 'sentence-transformers/all-MiniLM-L6-v2';

const embeddings = section('Embeddings, for hybrid search.', {
  backend: choice(
    ['auto', 'none', 'endpoint', 'sentence_transformers'],
    'auto',
    'Where embeddings come from. `auto` = an endpoint or a local model when there is one, else none: full-text search. The log says what was chosen.',
  ),
  model: text(EMBEDDING_MODEL, 'Embedding model.'),
  base_url: text('', 'URL of the embeddings API, with its `/v1`; for `endpoint`.'),
  api_key_env: variableName('Name of the environment variable that holds the key of the embeddings API.'),
  dimensions: nullableInteger(
    { above: 0 },
    'Length of the vectors to ask the endpoint for; null = as the model gives them.',
  ),
  fallback_model: text(EMBEDDING_MODEL, 'Local model to use when `model` cannot be loaded.'),
  device: text('auto', 'Device of the local model: `auto`, `cpu`, `cuda`, …'),
  fallback_on_cpu: flag(true, 'Go on with the CPU when the device cannot be used.'),
  model_kwargs: mapping('Options for loading the local model.'),
  tokenizer_kwargs: mapping('Options for its tokenizer.'),
  encode_kwargs: mapping('Options for encoding: pooling, normalisation, …'),
});

const reranker = section('A second look at what the search found.', {
  enabled: flag(false, 'Whether hits are reranked.'),
  model: text('Qwen/Qwen3-Reranker-4B', 'Reranking model.'),
  backend: choice(
    ['endpoint', 'cross_encoder'],
    'cross_encoder',
    'A `/rerank` endpoint, or a local cross-encoder.',
    { qwen3: 'cross_encoder' },
  ),
  base_url: text('', 'URL of the rerank API, with its `/v1`; for `endpoint`.'),
  api_key_env: variableName('Name of the environment variable that holds the key of the rerank API.'),
  instruction: text(
    'Judge whether the passage answers the question; prefer passages that state the needed facts themselves.',
    'Instruction for models that take one.',
    { prose: true },
  ),
  max_length: integer(8192, { above: 0 }, 'Longest pair of question and passage, in tokens.'),
  candidates: integer(12, { above: 0 }, 'Hits that are reranked; at least as many as are asked for.'),
  batch_size: integer(16, { above: 0 }, 'Pairs scored at once.'),
  cmd: nullableText(
    'Has no effect: kept so that old files load. Use `backend: endpoint` for a reranker of your own.',
  ),
});

export const tools = section('What the assistant may use.', {
  web_search: section('Web search by Serper (key in `SERPER_API_KEY`).', {
    enabled: flag(false, 'Whether the assistant may search the web.'),
    serper_num_results: integer(5, { above: 0 }, 'Results per search.'),
    serper_timeout: decimal(30, { above: 0 }, 'Seconds after which a search is given up.'),
  }),
  retrieval: section('Search in the knowledge folder.', {
    top_k: integer(4, { above: 0 }, 'Passages per search.'),
    chunking: section('How documents are cut into passages.', {
      chunk_size: integer(750, { above: 0 }, 'Longest passage, in characters.'),
      chunk_overlap: integer(
        150,
        { min: 0 },
        'Characters that neighbouring passages share; less than `chunk_size`.',
      ),
    }),
    index: section('The search index on disk.', {
      persist_dir: text(
        'knowledge_index',
        'Folder of the index, relative to the project. On a cluster also `s3://…` or `gs://…`: the index is built here and copied there, and every node opens it in place.',
      ),
      shared: flag(
        false,
        'Every node of the cluster sees `persist_dir` at the same path (a network mount) and opens the index there; false = nodes fetch a copy.',
      ),
      rebuild: flag(false, 'Build the index anew at the start.'),
      skip_if_unchanged: flag(
        true,
        'Use the index as it is when neither documents nor settings have changed.',
      ),
    }),
    embeddings,
    reranker,
  }),
});
