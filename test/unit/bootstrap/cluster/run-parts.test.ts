import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { loadDialogueAssets } from '../../../../src/bootstrap/assets.ts';
import { loadRunParts, openWorkerParts } from '../../../../src/bootstrap/cluster/run-parts.ts';
import {
  dialogueSettings,
  inputsBase,
  languageSources,
} from '../../../../src/bootstrap/dialogue-settings.ts';
import type { ModelRequest } from '../../../../src/dialogue/chat.ts';
import { createPlanner } from '../../../../src/dialogue/planner.ts';
import { runId } from '../../../../src/kernel/ids.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import { DOCUMENTS, RUN, storeWith, submitted } from './submitted-run.ts';

const REHEARSAL = `
run: {target_languages: [en, fr], total_samples: 5, batch_size: 3, max_consecutive_drops: 4, shutdown_grace_s: 2}
llm: {backend: rehearsal, max_in_flight: 7, rehearsal: {seed: 3, latency: {mean_ms: 0}}}
`;
const parts = { runId: RUN, environment: {}, logger: silentLogger };

describe('a run on a node that did not start it', () => {
  test('I5: is planned as its submitter planned it', async () => {
    const run = await submitted(REHEARSAL);
    const { loaded } = run;
    const found = await loadRunParts({ ...parts, store: await storeWith(run) });

    const assets = await loadDialogueAssets(loaded.config, loaded.projectRoot);
    const memory = { passageUses: [], seedUses: [], recentQuestions: ['What was asked before?'] };
    const settings = dialogueSettings(loaded.config, assets, { id: 'R', ordinal: 0, memory });
    const planner = createPlanner(settings, languageSources(loaded.config, DOCUMENTS, assets.seeds, memory));
    expect(found.dialogue.settings).toEqual(settings);
    expect(found.inputs).toEqual(inputsBase(loaded.config));
    for (const index of [0, 1, 4]) {
      for (const language of [0, 1])
        expect(found.dialogue.planner.conversation(language, index)).toEqual(
          planner.conversation(language, index),
        );
    }
    expect(found).toMatchObject({
      totalSamples: 5,
      batchSize: 3,
      consecutiveDropsMax: 4,
      shutdownGraceMs: 2_000,
      patienceMs: 600_000,
      strategy: 'weighted_least_inflight',
      roleStrategies: {},
      earlier: [],
      lacks: [],
    });
    expect(found.specsOf(found.plan)).toEqual([
      {
        name: 'rehearsal',
        identity: 'rehearsal of R',
        roles: ['user', 'assistant'],
        weight: 1,
        maxInFlight: 7,
        isDraining: false,
      },
    ]);
  });

  test('that is not there, or not a run of the cluster, is refused', async () => {
    const store = await storeWith(await submitted(REHEARSAL));
    await expect(loadRunParts({ ...parts, store, runId: runId('other') })).rejects.toThrow(/no run other/);
  });
});

describe('endpoints', () => {
  const yaml = `
judge: {enabled: true, mode: online}
llm:
  routing:
    strategy: round_robin
    endpoints:
      - {name: a, base_url: "http://me:hunter2@gpu-1:8000/v1?key=hunter2", model: m, api_key: key-one}
      - {name: b, base_url: "http://gpu-1:8000/v1", model: m, api_key: key-two, roles: [user]}
      - {base_url: "http://gpu-2:8000/v1", api_key_env: GPU_KEY, max_in_flight: 3}
  agents: {user: {model: m}, assistant: {model: m, routing: {strategy: weighted_least_inflight}}, judge: {model: j, provider: gemini}}
`;
  const ENVIRONMENT = { GPU_KEY: 'gpu-key', GEMINI_API_KEY: 'gemini-key' };

  test('I7: are the same with and without the keys, and tell apart what is another server', async () => {
    const run = await submitted(yaml, ENVIRONMENT);
    const store = await storeWith(run);
    const leader = await loadRunParts({ ...parts, store });
    const worker = await loadRunParts({
      ...parts,
      store,
      environment: ENVIRONMENT,
      own: run.loaded.config,
    });
    expect(worker.specsOf(worker.plan)).toEqual(leader.specsOf(leader.plan));
    expect(worker.lacks).toEqual([]);
    expect(leader.lacks).toHaveLength(5);
    expect(leader.strategy).toBe('round_robin');
    expect(leader.roleStrategies).toEqual({ assistant: 'weighted_least_inflight' });
    expect(
      leader.specsOf(leader.plan).map(({ name, identity, maxInFlight }) => [name, identity, maxInFlight]),
    ).toEqual([
      ['a', 'http://gpu-1:8000/v1 m', 16],
      ['b', 'http://gpu-1:8000/v1 m', 16],
      ['http://gpu-2:8000/v1', 'http://gpu-2:8000/v1 m', 3],
      ['gemini', expect.stringMatching(/^https:\/\/generativelanguage\..* j$/), 16],
    ]);
    expect(JSON.stringify(leader.specsOf(leader.plan))).not.toContain('hunter2');
  });
});

describe('a worker', () => {
  test('opens the models of the run by the names that its leader knows', async () => {
    const store = await storeWith(await submitted(REHEARSAL));
    const leader = await loadRunParts({ ...parts, store });
    const worker = await openWorkerParts({ ...parts, store });
    try {
      expect(worker.port.endpoints.map(({ name }) => name)).toEqual(
        leader.specsOf(leader.plan).map(({ name }) => name),
      );
      expect(worker.webSearch).toBeNull();
      const health = await worker.port.check('rehearsal', AbortSignal.timeout(5_000));
      expect(health).toEqual({ type: 'healthy', models: ['rehearsal'] });
    } finally {
      await worker.close();
    }
  });

  test('I5: gets the same answer from its own rehearsal as another worker from its own', async () => {
    const store = await storeWith(await submitted(`${REHEARSAL}personas: {enabled: false}`));
    const request: ModelRequest = {
      role: 'user',
      messages: [{ role: 'user', content: 'Ask something about the tides of the northern bay.' }],
      tools: [],
      output: {
        name: 'question',
        schema: {
          type: 'object',
          properties: { question: { type: 'string' } },
          required: ['question'],
          additionalProperties: false,
        },
      },
    };
    const answers = await Promise.all(
      [1, 2].map(async (before) => {
        const worker = await openWorkerParts({ ...parts, store });
        try {
          const other = { ...request, messages: [{ role: 'user' as const, content: 'Something else.' }] };
          for (let count = 0; count < before; count += 1)
            await worker.port.attempt('rehearsal', other, AbortSignal.timeout(5_000));
          return await worker.port.attempt('rehearsal', request, AbortSignal.timeout(5_000));
        } finally {
          await worker.close();
        }
      }),
    );
    const said = answers.map((outcome) =>
      outcome.type === 'answered' ? outcome.answer.content : outcome.type,
    );
    expect(said[0]?.length).toBeGreaterThan(20);
    expect(said[1]).toBe(said[0]);
  });

  test('without a key is opened too: it says what it lacks', async () => {
    const yaml =
      'judge: {enabled: false}\nllm: {agents: {user: {model: m}, assistant: {model: m}}}\ntools: {web_search: {enabled: true}}';
    const store = await storeWith(await submitted(yaml, { OPENAI_API_KEY: 'a-secret', SERPER_API_KEY: 's' }));
    const worker = await openWorkerParts({ ...parts, store });
    expect(worker.lacks).toEqual([
      'OPENAI_API_KEY for the user',
      'OPENAI_API_KEY for the assistant',
      'SERPER_API_KEY for web search',
    ]);
    expect(worker.webSearch).not.toBeNull();
    await worker.close();
  });
});

test('what a leader loads has neither a model client nor a vector database in it', () => {
  const module = new URL('../../../../src/bootstrap/cluster/run-parts.ts', import.meta.url).href;
  const script = `
    import { registerHooks } from 'node:module';
    const heavy = [];
    registerHooks({ load(url, context, next) {
      if (/node_modules\\/(openai|undici|@lancedb|apache-arrow|pg)\\//.test(url)) heavy.push(url);
      return next(url, context);
    }});
    await import(${JSON.stringify(module)});
    console.log(JSON.stringify(heavy));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual([]);
});
