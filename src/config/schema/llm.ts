import { z } from 'zod';
import {
  choice,
  choices,
  decimal,
  flag,
  integer,
  keyMeta,
  mapping,
  nullableChoice,
  nullableDecimal,
  nullableInteger,
  section,
  secretText,
  text,
  texts,
  textsByName,
  variableName,
} from './fields.ts';

/** The roles that a model plays; the same words as the dialogue's `Role`. */
export const AGENT_ROLES = ['user', 'assistant', 'judge'] as const;
export type AgentRole = (typeof AGENT_ROLES)[number];

export const BACKENDS = ['openai', 'vllm_attach', 'vllm_managed', 'rehearsal'] as const;

const STRATEGIES = ['weighted_least_inflight', 'round_robin', 'prefix_affinity'] as const;
const BASE_URL = 'URL of the OpenAI-compatible API, with its `/v1`';

const isHttpUrl = (value: string): boolean =>
  URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);
const httpUrl = (description: string) =>
  z
    .string()
    .refine((value) => value === '' || isHttpUrl(value))
    .default('')
    .register(keyMeta, {
      kind: 'text',
      description,
      type: 'text',
      rule: 'must be a URL that starts with http:// or https://.',
    });

export const endpointSchema = z
  .strictObject({
    name: text('', 'Name in logs and statistics, unique; empty = the base URL.'),
    base_url: z
      .string()
      .refine(isHttpUrl)
      .register(keyMeta, {
        kind: 'text',
        description: `${BASE_URL}. Required.`,
        type: 'text',
        rule: 'must be a URL that starts with http:// or https://.',
      }),
    api_key: secretText('Key of this endpoint. Better: `api_key_env`.', 'all'),
    api_key_env: variableName('Name of the environment variable that holds the key of this endpoint.'),
    weight: decimal(1, { min: 1e-6 }, 'Share of the traffic, relative to the other endpoints.'),
    max_in_flight: nullableInteger(
      { min: 0 },
      'Hard limit of requests in flight; null or 0 = 64 for the vLLM backends, else `llm.max_in_flight`.',
    ),
    timeout: nullableDecimal(
      { above: 0 },
      'Seconds after which one request is given up; null = the one of the role.',
    ),
    model: text('', 'Model id asked for at this endpoint; empty = the one of the role.'),
    roles: choices(
      AGENT_ROLES,
      [],
      'Roles served; empty = every role that does not name a provider of its own.',
    ),
  })
  .register(keyMeta, { kind: 'section', description: 'One endpoint.', type: 'mapping' });

export type EndpointConfig = z.output<typeof endpointSchema>;

const endpointsMeta = {
  kind: 'objects',
  type: 'list of endpoints (a plain text item is a base URL)',
  itemFromText: 'base_url',
} as const;

const routing = section('Endpoints for all roles.', {
  strategy: choice(
    STRATEGIES,
    'weighted_least_inflight',
    'How an endpoint is chosen among those that have a free slot: the one with the fewest requests for its weight; in turn; the one that served the conversation last, whose prefix cache holds its prompt.',
  ),
  endpoints: z
    .array(endpointSchema)
    .default([])
    .register(keyMeta, {
      ...endpointsMeta,
      description:
        'OpenAI-compatible endpoints that share the requests. Empty = the `base_url` of each role.',
    }),
});

const agent = (role: AgentRole, provider: string) =>
  section(`The model that plays the ${role}.`, {
    provider: text(
      provider,
      'Service that runs the model: `openai`, `gemini`, `anthropic`, `deepseek`, `mistral`, `groq`, `together`, `openrouter`, `ollama`, `lm_studio`, `hosted_vllm` and more (docs/backends.md). Empty = the prefix of the model (`gemini/…`), else any OpenAI-compatible API.',
      { fallback: '' },
    ),
    model: text('', 'Model id. Required for the roles that a command uses.'),
    base_url: httpUrl(`${BASE_URL}; empty = the one of the provider.`),
    temperature: nullableDecimal({ min: 0 }, 'Sampling temperature; null = not sent.'),
    max_tokens: nullableInteger({ above: 0 }, 'Longest answer, in tokens; null = not sent.'),
    top_p: nullableDecimal({ min: 0, max: 1 }, 'Nucleus sampling; null = not sent.'),
    timeout: nullableDecimal({ above: 0 }, 'Seconds after which one request is given up; null = 600.'),
    max_retries: nullableInteger(
      { min: 0 },
      'Retries of a request that may succeed later; null = as long as `run.endpoint_patience_s` allows.',
    ),
    extra: mapping(
      'More fields of the request; never replaces model, messages, temperature, max_tokens, top_p or timeout.',
    ),
    routing: section(`Endpoints for the ${role} alone.`, {
      strategy: nullableChoice(STRATEGIES, 'As `llm.routing.strategy`; null = that one.'),
      endpoints: z
        .array(endpointSchema)
        .nullable()
        .default(null)
        .register(keyMeta, { ...endpointsMeta, description: 'As `llm.routing.endpoints`; null = those.' }),
    }),
  });

const vllm = section('vLLM servers that dlgforge starts itself (`llm.backend: vllm_managed`).', {
  model: text('', 'Model to serve: a hub id or a folder.'),
  served_model_name: text('', 'Name that the servers give the model; empty = `model`.'),
  replicas: integer(1, { above: 0 }, 'Number of servers.'),
  num_gpus_per_replica: decimal(
    1,
    { min: 0 },
    'Whole GPUs of one node for one server (a fraction counts as one); 0 = it runs where there are none.',
  ),
  host: text(
    '0.0.0.0',
    'Address that the servers listen on. Where it is not set, a run in one process listens on 127.0.0.1.',
  ),
  advertise_host: text(
    '',
    "Host in the endpoint URLs; empty = the address of the replica's own node. A loopback address counts only where the whole cluster is on one machine.",
  ),
  port_start: integer(
    18_000,
    { min: 1, max: 65_535 },
    'First port; a server takes the first that is free from here on.',
  ),
  tensor_parallel_size: integer(1, { above: 0 }, 'GPUs over which one model is split.'),
  gpu_memory_utilization: decimal(
    0.9,
    { above: 0, max: 1 },
    'Share of the GPU memory that a server may use.',
  ),
  max_num_seqs: integer(256, { above: 0 }, 'Sequences that a server runs at the same time.'),
  max_in_flight: nullableInteger(
    { above: 0 },
    'Hard limit of requests in flight at one server; null = half of `max_num_seqs`, at least 64.',
  ),
  health_timeout_s: decimal(180, { above: 0 }, 'Seconds that a server may take to become healthy.'),
  no_progress_timeout_s: decimal(
    60,
    { above: 0 },
    'Seconds without a token while requests wait, or without an answer to a request for one token, after which a server counts as hung and is started again.',
  ),
  max_restarts: integer(
    3,
    { min: 0 },
    'Times that a server that has ended is started again before it is given up.',
  ),
  auto_stop_on_exit: flag(true, 'Stop the servers when the run ends.'),
  command: text('vllm', 'Program that is called with `serve`.'),
  extra_args: texts([], 'More arguments for `vllm serve`, one per item.'),
  env: textsByName(
    'More environment variables for the servers. Not for secrets: this file is read by others.',
  ),
});

const rate = (description: string) => decimal(0, { min: 0, max: 1 }, `${description} (share of requests).`);

/** Whatever stands here is also a valid option of the rehearsal server, under the same name. */
const rehearsal = section(
  'The built-in offline backend (`llm.backend: rehearsal`): what it answers and how badly it behaves.',
  {
    seed: integer(0, {}, 'Key of everything random in the answers.'),
    model: text('rehearsal', 'Model id that it serves, and that roles without a model ask for.'),
    latency: section('How long answers take.', {
      distribution: choice(['fixed', 'lognormal'], 'lognormal', 'Distribution of the latency.'),
      mean_ms: decimal(40, { min: 0, max: 3_600_000 }, 'Mean latency, in milliseconds.'),
      sigma: decimal(0.8, { min: 0, max: 4 }, 'Standard deviation of the logarithm of the latency.'),
      straggler_rate: rate('Answers that take much longer'),
      straggler_factor: decimal(10, { min: 1, max: 1000 }, 'How many times longer they take.'),
      seed: integer(0, {}, 'Key of the latencies alone: timing can vary while the answers stay.'),
    }),
    batch: section('Its batch API.', {
      is_supported: flag(true, 'Whether it has one.'),
      duration_ms: decimal(
        0,
        { min: 0, max: 3_600_000 },
        'From the creation of a batch to its last answer, in milliseconds; the answers come evenly.',
      ),
      validation_failure_rate: decimal(
        0,
        { min: 0, max: 1 },
        'Batches that fail their validation (share of batches).',
      ),
      expiry_rate: decimal(0, { min: 0, max: 1 }, 'Batches that expire (share of batches).'),
      expires_after: decimal(
        0.5,
        { min: 0, max: 1 },
        'Share of its requests that such a batch has answered.',
      ),
      request_error_rate: rate('Requests of a batch that end in its error file'),
    }),
    capacity: integer(
      0,
      { min: 0, max: 1_000_000 },
      'Requests served at the same time; more have to wait. 0 = no limit.',
    ),
    reject_over_capacity: flag(false, 'Answer 429 instead of letting a request wait.'),
    tokens_per_second: decimal(
      0,
      { min: 0 },
      'Speed at which one answer is written, after its latency. 0 = at once.',
    ),
    rate_limit_rate: rate('Answers 429 with Retry-After'),
    retry_after_s: decimal(1, { min: 0, max: 86_400 }, 'Seconds in that Retry-After.'),
    server_error_rate: rate('Answers 5xx'),
    reset_rate: rate('Connections that are cut'),
    stall_rate: rate('Requests that are silent for `stall_s`'),
    stall_s: decimal(60, { min: 0, max: 86_400 }, 'Seconds that a stalled request is silent.'),
    truncated_rate: rate('JSON that ends too early'),
    malformed_rate: rate('JSON that does not parse'),
    wrong_type_rate: rate('JSON with values of the wrong type'),
    empty_rate: rate('Answers without content'),
    prose_rate: rate('Good JSON with prose around it'),
    duplicate_rate: rate('Questions that others ask too'),
    unsupported_response_formats: choices(
      ['json_schema', 'json_object', 'text'],
      [],
      'Response formats that are refused with status 400.',
    ),
    unsupported_tools: flag(false, 'Refuse tools, as vLLM does without a tool parser.'),
    context_limit_tokens: integer(0, { min: 0 }, 'Longest prompt, in tokens; 0 = no limit.'),
    second_round_rate: decimal(
      0.3,
      { min: 0, max: 1 },
      'How often the assistant searches a second time (share of answers).',
    ),
    parallel_calls_rate: decimal(
      0.3,
      { min: 0, max: 1 },
      'How often it makes two searches at once (share of answers).',
    ),
  },
);

export const llm = section('Which models answer, and how they are called.', {
  backend: choice(
    BACKENDS,
    'openai',
    'Where answers come from: any OpenAI-compatible API; running vLLM servers (`llm.routing.endpoints`); vLLM servers that dlgforge starts; the built-in offline rehearsal.',
    { api: 'openai' },
    { aliasesStay: true },
  ),
  max_in_flight: integer(
    16,
    { above: 0 },
    'Hard limit of requests in flight for endpoints that name none; those of the vLLM backends default to 64.',
  ),
  max_attempts: integer(
    3,
    { above: 0 },
    'Tries for one step whose answers cannot be used, before the conversation is dropped.',
  ),
  routing,
  agents: section('The models, by role.', {
    user: agent('user', 'openai'),
    assistant: agent('assistant', ''),
    judge: agent('judge', ''),
  }),
  vllm,
  rehearsal,
});
