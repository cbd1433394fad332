/**
 * The load of a server from its Prometheus text. vLLM has one sample per engine, which are added up. Names have
 * changed over its versions: counters got `_total`, and the prefix cache lost its `gpu_`.
 */
import type { ServerVitals } from '../../ports/server-process.ts';

const RUNNING = ['vllm:num_requests_running'];
const WAITING = ['vllm:num_requests_waiting'];
const PROMPT = ['vllm:prompt_tokens_total', 'vllm:prompt_tokens'];
const GENERATED = ['vllm:generation_tokens_total', 'vllm:generation_tokens'];
/** Counts every step, also of a long prompt that is still being read; the others count what is finished. */
const COMPUTED = ['vllm:iteration_tokens_total_sum'];
const CACHED = [
  'vllm:prefix_cache_hits_total',
  'vllm:prefix_cache_hits',
  'vllm:gpu_prefix_cache_hits_total',
  'vllm:gpu_prefix_cache_hits',
  'vllm:prompt_tokens_cached_total',
];

/** Name, labels (whose values may hold any character), value; a time stamp may follow. */
const SAMPLE = /^([A-Za-z_:][\w:]*)(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?[ \t]+(\S+)/;

/** Null when the text is not that of a vLLM server. */
export function loadOf(text: string): ServerVitals['load'] {
  const sums = sumsOf(text);
  const first = (names: readonly string[]): number | null =>
    names.map((name) => sums.get(name)).find((value) => value !== undefined) ?? null;
  const running = first(RUNNING);
  if (running === null) return null;
  return {
    running,
    waiting: first(WAITING) ?? 0,
    tokens: (first(PROMPT) ?? 0) + (first(GENERATED) ?? 0) + (first(COMPUTED) ?? 0),
    cachedTokens: first(CACHED),
  };
}

/** Over all labels; samples that are no numbers are left out. */
function sumsOf(text: string): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [, name, written] = SAMPLE.exec(line) ?? [];
    const value = Number(written);
    if (name === undefined || !Number.isFinite(value)) continue;
    sums.set(name, (sums.get(name) ?? 0) + value);
  }
  return sums;
}
