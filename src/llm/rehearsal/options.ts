import { z } from 'zod';
import { DlgforgeError } from '../../kernel/errors.ts';

/**
 * The knobs of the rehearsal backend. All can be changed while it serves (`POST /rehearsal/options`).
 *
 * Rates are fractions of requests. The transport faults exclude each other and are drawn in the
 * order in which they stand here; so do the content faults, in a draw of their own.
 */
const rate = z.number().min(0).max(1).default(0);
const milliseconds = z.number().min(0).max(3_600_000);

const latencySchema = z.strictObject({
  distribution: z.enum(['fixed', 'lognormal']).default('fixed'),
  /** Mean service time of one call before its tokens are paced; 0 answers at once. */
  mean_ms: milliseconds.default(0),
  /** Standard deviation of the logarithm; the mean stays `mean_ms`. */
  sigma: z.number().min(0).max(4).default(0.8),
  straggler_rate: rate,
  straggler_factor: z.number().min(1).max(1000).default(10),
  /** Its own seed: timing can vary while the answers stay. */
  seed: z.int().default(0),
  /** Means that differ by role; `assistant_tools` is for answers of the assistant that call tools. */
  per_role: z
    .strictObject({
      user: milliseconds.optional(),
      assistant: milliseconds.optional(),
      assistant_tools: milliseconds.optional(),
      judge: milliseconds.optional(),
    })
    .prefault({}),
});

/** The batch API: what it takes, how long it takes, and what goes wrong. */
const batchSchema = z.strictObject({
  /** False: files and batches are answered with 404, as by servers that have none. */
  is_supported: z.boolean().default(true),
  /** From the creation of a batch to its last answer; the answers come evenly. 0 answers as fast as it can. */
  duration_ms: milliseconds.default(0),
  /** Batches that fail their validation, so that nothing of them is asked. */
  validation_failure_rate: rate,
  /** Batches that expire when `expires_after` of their requests are done. */
  expiry_rate: rate,
  expires_after: z.number().min(0).max(1).default(0.5),
  /** Requests in a batch that end in the error file with a status of 500; drawn anew in each batch. */
  request_error_rate: rate,
  /** Requests of one batch. */
  requests_max: z.int().min(1).default(50_000),
  /** Of all files together; the oldest that no open batch needs are forgotten first. */
  files_bytes_max: z
    .int()
    .min(1024)
    .default(256 * 1024 * 1024),
  /** Batches that are remembered; an upload is answered with 429 while so many are open. */
  batches_max: z.int().min(1).max(100_000).default(1_000),
});

export const rehearsalOptionsSchema = z
  .strictObject({
    /** Everything in an answer is a function of this and of the request. */
    seed: z.int().default(0),
    /** Shorthand for `models: [model]`. */
    model: z.string().min(1).optional(),
    /** Model ids that are served; empty serves any id. */
    models: z.array(z.string().min(1)).max(256).default([]),
    /** Required as a bearer token when set. */
    api_key: z.string().min(1).optional(),

    latency: latencySchema.prefault({}),
    batch: batchSchema.prefault({}),
    /** Chat requests served at once; more wait in the order of arrival. 0 sets no limit. */
    capacity: z.int().min(0).max(1_000_000).default(0),
    /** Answer 429 instead of letting a request wait. */
    reject_over_capacity: z.boolean().default(false),
    /** Speed at which one answer is written, after its latency. 0 writes at once. */
    tokens_per_second: z.number().min(0).default(0),

    rate_limit_rate: rate,
    /** What a 429 asks for; fractions are sent as they are. */
    retry_after_s: z.number().min(0).max(86_400).default(1),
    server_error_rate: rate,
    /** The connection is reset, streams in the middle. */
    reset_rate: rate,
    /** Silence of `stall_s` before the answer goes on. */
    stall_rate: rate,
    stall_s: z.number().min(0).max(86_400).default(60),

    /** JSON cut short, `finish_reason: length`. */
    truncated_rate: rate,
    /** JSON that does not parse. */
    malformed_rate: rate,
    /** JSON with a number or a list where a text belongs. */
    wrong_type_rate: rate,
    /** An answer without content. */
    empty_rate: rate,
    /** Good JSON inside prose, a code fence or after a `<think>` block. */
    prose_rate: rate,
    /** Questions taken from a small pool that all conversations and languages share. */
    duplicate_rate: rate,

    /** Formats that are refused with status 400. */
    unsupported_response_formats: z.array(z.enum(['json_schema', 'json_object', 'text'])).default([]),
    /** Tools are refused with status 400, as vLLM does without a tool parser. */
    unsupported_tools: z.boolean().default(false),
    /** Longer prompts get `context_length_exceeded`. 0 sets no limit. */
    context_limit_tokens: z.int().min(0).default(0),
    /** Blocks of 16 tokens that the prefix cache holds; 0 turns it off. */
    prefix_cache_blocks: z.int().min(0).max(4_000_000).default(65_536),

    /** How often the assistant searches a second time, and how often it makes two searches at once. */
    second_round_rate: z.number().min(0).max(1).default(0.3),
    parallel_calls_rate: z.number().min(0).max(1).default(0.3),

    embedding_dimension: z.int().min(8).max(8192).default(256),
    /** Requests remembered for `GET /rehearsal/log`; the log file has all of them. */
    log_limit: z.int().min(0).max(1_000_000).default(10_000),
    /** Request keys whose arrivals are counted; the one not seen for longest is forgotten first. */
    key_limit: z.int().min(1).max(10_000_000).default(500_000),
    max_body_bytes: z
      .int()
      .min(1024)
      .default(16 * 1024 * 1024),
  })
  .refine((o) => o.rate_limit_rate + o.server_error_rate + o.reset_rate + o.stall_rate <= 1 + 1e-9, {
    message:
      'rate_limit_rate, server_error_rate, reset_rate and stall_rate exclude each other and may sum to 1 at most',
  })
  .refine((o) => contentRates(o).reduce((sum, value) => sum + value, 0) <= 1 + 1e-9, {
    message:
      'truncated_rate, malformed_rate, wrong_type_rate, empty_rate, prose_rate and duplicate_rate exclude each other and may sum to 1 at most',
  });

const contentRates = (o: {
  truncated_rate: number;
  malformed_rate: number;
  wrong_type_rate: number;
  empty_rate: number;
  prose_rate: number;
  duplicate_rate: number;
}): number[] => [
  o.truncated_rate,
  o.malformed_rate,
  o.wrong_type_rate,
  o.empty_rate,
  o.prose_rate,
  o.duplicate_rate,
];

/** All knobs, defaults filled in. */
export type RehearsalOptions = z.output<typeof rehearsalOptionsSchema>;
/** What a caller writes. */
export type RehearsalOptionsInput = z.input<typeof rehearsalOptionsSchema>;

/** @throws DlgforgeError `config` that names every knob that is off. */
export function parseRehearsalOptions(input: unknown): RehearsalOptions {
  const parsed = rehearsalOptionsSchema.safeParse(input ?? {});
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => {
    const path = issue.path.join('.');
    return path === '' ? issue.message : `${path}: ${issue.message}`;
  });
  throw new DlgforgeError(
    'config',
    `These rehearsal options cannot be used; correct them and start again: ${problems.join('; ')}`,
    {
      details: { problems },
    },
  );
}

/** `changes` over `current`; `latency`, its roles and `batch` are merged key by key. */
export function mergeOptions(current: RehearsalOptions, changes: unknown): RehearsalOptions {
  if (changes === null || typeof changes !== 'object' || Array.isArray(changes)) {
    throw new DlgforgeError('config', 'Rehearsal options must be a JSON object of knobs and their values.');
  }
  return parseRehearsalOptions(merged({ ...current }, { ...changes }));
}

function merged(base: Record<string, unknown>, changes: Record<string, unknown>): Record<string, unknown> {
  const result = { ...base };
  for (const [key, value] of Object.entries(changes)) {
    const before = result[key];
    result[key] = isRecord(before) && isRecord(value) ? merged(before, value) : value;
  }
  return result;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** The model ids that are served; empty means any. */
export const servedModels = (options: RehearsalOptions): readonly string[] =>
  options.model === undefined || options.models.includes(options.model)
    ? options.models
    : [options.model, ...options.models];
