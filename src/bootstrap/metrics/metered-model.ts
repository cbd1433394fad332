/** Models whose calls are counted, and the wait for an endpoint before them. */
import type { EndpointRouter } from '../../actors/endpoint-router/router.ts';
import type { ModelAnswer, Role } from '../../dialogue/chat.ts';
import { isDlgforgeError } from '../../kernel/errors.ts';
import type { Metrics } from '../../kernel/metrics.ts';
import type { ModelPort } from '../../ports/model.ts';
import { delegating } from './delegating.ts';

export function meteredModel(port: ModelPort, metrics: Metrics): ModelPort {
  if (!metrics.isOn) return port;
  const ended = (endpoint: string, outcome: string): void =>
    metrics.counter('dlgforge_model_calls_total', { endpoint, outcome }).add();
  const replaced: Pick<ModelPort, 'attempt'> = {
    async attempt(endpoint, request, signal) {
      try {
        const outcome = await port.attempt(endpoint, request, signal);
        ended(endpoint, outcome.type);
        if (outcome.type === 'answered') countAnswer(metrics, request.role, outcome.answer);
        return outcome;
      } catch (error) {
        // What the server makes of a request that nobody waits for any more, no token count tells.
        ended(endpoint, isDlgforgeError(error, 'cancelled') ? 'cancelled' : 'failed');
        throw error;
      }
    },
  };
  return delegating(port, replaced, () => undefined);
}

function countAnswer(metrics: Metrics, role: Role, { usage, latencyMs }: ModelAnswer): void {
  metrics.histogram('dlgforge_model_call_seconds', { role }).observe(latencyMs / 1000);
  metrics.counter('dlgforge_model_tokens_total', { role, kind: 'prompt' }).add(usage.promptTokens);
  metrics.counter('dlgforge_model_tokens_total', { role, kind: 'cached' }).add(usage.cachedTokens);
  metrics.counter('dlgforge_model_tokens_total', { role, kind: 'completion' }).add(usage.completionTokens);
}

/** The caller's side of the router: how many calls of this process wait for an endpoint, and how long. */
export function meteredRouter(router: EndpointRouter, metrics: Metrics): EndpointRouter {
  if (!metrics.isOn) return router;
  const replaced: Pick<EndpointRouter, 'acquire'> = {
    async acquire(wish, signal) {
      const { role } = wish;
      const waiting = metrics.gauge('dlgforge_permits_waiting', { role });
      const startedMs = performance.now();
      waiting.add(1);
      try {
        return await router.acquire(wish, signal);
      } finally {
        waiting.add(-1);
        const seconds = (performance.now() - startedMs) / 1000;
        metrics.histogram('dlgforge_permit_wait_seconds', { role }).observe(seconds);
      }
    },
  };
  return delegating(router, replaced, () => undefined);
}
