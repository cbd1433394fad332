import type { RehearsalStats } from '../../../src/llm/rehearsal/request-counts.ts';

/** The metrics of vLLM that dlgforge and its tests read, with vLLM's names and labels. */
export function metricsText(stats: RehearsalStats, waitingForEngine: number, model: string): string {
  const labels = `{engine="0",model_name=${JSON.stringify(model)}}`;
  const metric = (name: string, type: string, value: number): string =>
    `# HELP ${name} As vLLM has it.\n# TYPE ${name} ${type}\n${name}${labels} ${value.toFixed(1)}\n`;
  const { prompt_tokens: prompt, cached_tokens: cached, completion_tokens: generated } = stats;
  return [
    metric('vllm:num_requests_running', 'gauge', stats.running),
    metric('vllm:num_requests_waiting', 'gauge', stats.waiting + waitingForEngine),
    metric('vllm:prompt_tokens_total', 'counter', prompt),
    metric('vllm:generation_tokens_total', 'counter', generated),
    metric('vllm:iteration_tokens_total_sum', 'counter', prompt - cached + generated),
    metric('vllm:prefix_cache_queries_total', 'counter', prompt),
    metric('vllm:prefix_cache_hits_total', 'counter', cached),
    metric('vllm:request_success_total', 'counter', stats.answered),
  ].join('');
}
