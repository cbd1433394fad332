/** The limit of an endpoint is the limit of the cluster (I7): as the endpoint itself counts open requests. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runEventsId } from '../../src/protocol/run-events.ts';
import { tooManyOpen } from '../support/cluster-checker.ts';
import { type ClusterLab, startLab } from '../support/cluster-lab.ts';

const MAX_IN_FLIGHT = 5;
const NODES = 4;
const WORKERS = 2;

let lab: ClusterLab;

beforeAll(async () => {
  lab = await startLab({
    rehearsal: { seed: 3, latency: { distribution: 'lognormal', mean_ms: 60, sigma: 0.5 } },
    config: (endpoint) => ({
      run: {
        run_id: 'limits',
        total_samples: 48,
        batch_size: 40,
        target_languages: ['english'],
        turns: { mode: 'exact', exact: 2 },
        distributed: {
          enabled: true,
          auto_start_local: false,
          spawn: { coordinator: false, workers: false },
        },
      },
      judge: { mode: 'offline' },
      llm: {
        backend: 'openai',
        max_in_flight: MAX_IN_FLIGHT,
        agents: Object.fromEntries(
          ['user', 'assistant', 'judge'].map((role) => [
            role,
            { provider: 'hosted_vllm', model: 'rehearsal', base_url: endpoint },
          ]),
        ),
      },
    }),
  });
  await Promise.all(Array.from({ length: NODES }, () => lab.startAgent({ workers: WORKERS })));
});
afterAll(async () => {
  await lab?.[Symbol.asyncDispose]();
});

test('I7: eight workers on four nodes never have a sixth request open, and all of them work', async () => {
  const { code, stderr } = await lab.run(['run', 'config.yaml']);
  expect(code, stderr).toBe(0);
  const requests = lab.rehearsal.log();
  expect(tooManyOpen(requests, MAX_IN_FLIGHT)).toEqual([]);
  // The limit is reached: it is what holds them back.
  expect(tooManyOpen(requests, MAX_IN_FLIGHT - 1)).not.toEqual([]);
  const workers = new Set(
    (await lab.store.journal.read(runEventsId('limits')))
      .map(({ event }) => event as { readonly type: string; readonly worker?: string })
      .filter(({ type }) => type === 'WorkerJoined')
      .map(({ worker }) => worker),
  );
  expect(workers.size).toBe(NODES * WORKERS);
});
