import { expect, onTestFinished, test } from 'vitest';
import { createModelCalls } from '../../../src/actors/endpoint-router/model-calls.ts';
import { Pool } from '../../../src/actors/endpoint-router/pool.ts';
import { createLocalRouter } from '../../../src/actors/endpoint-router/router.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import { startRehearsal } from '../../../src/llm/rehearsal/server.ts';
import { endpointAt, never, portFor, request, roleSettings } from './fixtures.ts';

test('a server with 10 % errors, 10 % rate limits, 5 % resets and 5 % stalls answers every call in the end', async () => {
  const faults = {
    server_error_rate: 0.1,
    rate_limit_rate: 0.1,
    retry_after_s: 0.01,
    reset_rate: 0.05,
    stall_rate: 0.05,
    stall_s: 5,
  };
  const server = await startRehearsal({
    ...faults,
    latency: { mean_ms: 2 },
    unsupported_response_formats: ['json_schema'],
  });
  onTestFinished(() => server.close());
  const user = roleSettings({ timeoutMs: 150, model: 'rehearsal' });
  const port = portFor([endpointAt(server.url, { maxInFlight: 8 })], { roles: { user } });
  const router = createLocalRouter(
    new Pool({ runs: [{ runId: 'R', endpoints: port.endpoints }] }),
    systemClock,
    'R',
  );
  onTestFinished(() => router.close());
  const calls = createModelCalls({
    router,
    port,
    clock: systemClock,
    patienceMs: 60_000,
    logger: silentLogger,
    random: () => 0.02,
  });
  const results = await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      calls.call(request('user', { messages: [{ role: 'user', content: `Question ${index}` }] }), {
        conversation: `c${index}`,
        priority: index,
        signal: never,
      }),
    ),
  );
  expect(results.filter(({ type }) => type === 'answered')).toHaveLength(200);
  expect(results[0]).toMatchObject({ answer: { rehearsal: true } });
  const { retries, endpoints } = await calls.stats();
  for (const cause of ['server', 'rate_limit', 'connection', 'timeout'] as const)
    expect(retries[cause], cause).toBeGreaterThan(0);
  expect(endpoints[0]?.inFlight).toBe(0);
});
