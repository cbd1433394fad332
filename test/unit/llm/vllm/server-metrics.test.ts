import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadOf } from '../../../../src/llm/vllm/server-metrics.ts';

describe('load of a server from its metrics', () => {
  test('is read from the names of today', () => {
    const text = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 38.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 7.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 5e+04
vllm:generation_tokens_total{engine="0",model_name="m"} 1200.0
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1000.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 250.0
`;
    expect(loadOf(text)).toEqual({ running: 38, waiting: 2, tokens: 51_200, cachedTokens: 250 });
  });

  test.each([
    ['vllm:gpu_prefix_cache_hits_total{engine="0"} 7', 7],
    ['vllm:gpu_prefix_cache_hits 8', 8],
    ['vllm:prompt_tokens_cached_total 9', 9],
    ['vllm:gpu_prefix_cache_hit_rate 0.5', null],
  ])('and from older ones: %s', (line, cachedTokens) => {
    expect(loadOf(`vllm:num_requests_running 1\n${line}\n`)?.cachedTokens).toBe(cachedTokens);
  });

  test('engines are added up, whatever stands in a label', () => {
    const text = [
      'vllm:num_requests_running{engine="0",model_name="a} 5"} 1',
      String.raw`vllm:num_requests_running{engine="1",model_name="a\"} 6"} 2 1700000000000`,
      'vllm:num_requests_waiting 1',
      'vllm:generation_tokens_total{engine="0"} 10\r',
      'vllm:iteration_tokens_total_sum{engine="0"} 4096',
    ].join('\n');
    expect(loadOf(text)).toEqual({ running: 3, waiting: 1, tokens: 4_106, cachedTokens: null });
  });

  test.each([
    '',
    '<html>404</html>',
    'vllm:num_requests_running NaN',
    'vllm:num_requests_running{ 3',
    'process_cpu 1',
  ])('is not made up: %j', (text) => {
    expect(loadOf(text)).toBeNull();
  });

  test('any text is read without an error and in time', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 2_000, unit: 'grapheme' }), (text) => {
        const load = loadOf(`vllm:num_requests_running{a="\\` + text);
        return load === null || Number.isFinite(load.tokens);
      }),
    );
    const startMs = performance.now();
    loadOf(`vllm:num_requests_running{${'a="\\'.repeat(100_000)}`);
    expect(performance.now() - startMs).toBeLessThan(1_000);
  });
});
