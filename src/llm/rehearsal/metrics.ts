import type { RehearsalStats } from './request-counts.ts';

/** Prometheus text with the names that vLLM uses, so that what watches a vLLM server can watch this one. */
export function metricsText(stats: RehearsalStats): string {
  return [
    metric('vllm:num_requests_running', 'gauge', 'Requests that are being served.', stats.running),
    metric('vllm:num_requests_waiting', 'gauge', 'Requests that wait for a place.', stats.waiting),
    metric('vllm:prompt_tokens_total', 'counter', 'Prompt tokens of answered requests.', stats.prompt_tokens),
    metric('vllm:generation_tokens_total', 'counter', 'Tokens written.', stats.completion_tokens),
    metric('vllm:request_success_total', 'counter', 'Requests answered with status 200.', stats.answered),
  ].join('');
}

const metric = (name: string, type: string, help: string, value: number): string =>
  `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`;
