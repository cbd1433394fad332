import { expect, test } from 'vitest';
import { questionKey } from '../../src/dialogue/question-key.ts';
import { uniform } from '../../src/kernel/random.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type CliProject, makeProject, withoutTimes } from '../support/cli-project.ts';

const SAMPLES = 40;
const KILLS = 25;
const KNOBS = {
  seed: 11,
  duplicate_rate: 0.1,
  latency: { distribution: 'lognormal', mean_ms: 200, sigma: 0.8 },
} as const;

const configFor = (rehearsal: Rehearsal) => ({
  run: {
    run_id: 'kill',
    total_samples: SAMPLES,
    batch_size: 8,
    target_languages: ['english', 'french'],
    turns: { mode: 'range', min: 2, max: 4, mean: 3 },
  },
  llm: {
    backend: 'openai',
    max_in_flight: 64,
    agents: Object.fromEntries(
      ['user', 'assistant', 'judge'].map((role) => [
        role,
        { provider: 'hosted_vllm', model: 'rehearsal', base_url: `${rehearsal.url}/v1` },
      ]),
    ),
  },
  judge: { mode: 'online' },
});

interface Journalled {
  readonly key: string;
  readonly atMs: number;
}

/** When each paid answer became durable, by the server's own key of the request. */
const journalled = (project: CliProject): Promise<Journalled[]> =>
  project.withStore(async ({ journal }) => {
    const answers: Journalled[] = [];
    for (const { id } of await journal.list('run/kill/')) {
      for (const { event, atMs } of await journal.read(id)) {
        const { type, answer } = event as { type: string; answer?: { raw: { id: string } } };
        if (type === 'ModelAnswered' || type === 'LateAnswerKept')
          answers.push({ key: String(answer?.raw.id).replace('chatcmpl-', ''), atMs });
      }
    }
    return answers;
  });

async function filesWithoutTimes(project: CliProject): Promise<Map<string, string>> {
  return new Map([...(await project.files())].map(([path, text]) => [path, withoutTimes(text)]));
}

test(`${KILLS} times kill -9: exact counts, no duplicates, the same bytes, and nothing journalled is paid for again`, async () => {
  const rehearsal = await startRehearsal({ ...KNOBS, log_limit: 1_000_000 });
  await using undisturbed = await makeProject(configFor(rehearsal));
  await using killed = await makeProject(configFor(rehearsal));
  try {
    const whole = await undisturbed.run(['run', 'config.yaml', '--batch-size', '32']);
    expect(whole.code, whole.stderr).toBe(0);
    rehearsal.reset();

    let kills = 0;
    for (let attempt = 0; kills < KILLS; attempt += 1) {
      expect(attempt).toBeLessThan(KILLS * 2);
      const batch = ['1', '8', '32'][attempt % 3] as string;
      const running = killed.start(['run', 'config.yaml', '--batch-size', batch]);
      await running.shown(' run kill');
      const cut = new Promise<'cut'>((resolve) =>
        setTimeout(() => resolve('cut'), uniform(['kill', attempt]) * 900),
      );
      if ((await Promise.race([cut, running.finished])) !== 'cut') break;
      running.child.kill('SIGKILL');
      expect((await running.finished).signal).toBe('SIGKILL');
      kills += 1;
    }
    const last = await killed.run(['run', 'config.yaml', '--batch-size', '32', '--json']);
    expect(last.code, last.stderr).toBe(0);
    expect(kills).toBe(KILLS);

    const report = JSON.parse(last.stdout) as { languages: { committed: number }[] };
    expect(report.languages.map((language) => language.committed)).toEqual([SAMPLES, SAMPLES]);

    const files = await filesWithoutTimes(killed);
    const ids = (files.get('conversations_index.jsonl') ?? '')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { conversation_id: string }).conversation_id);
    expect(new Set(ids).size).toBe(2 * SAMPLES);
    const keys = (files.get('turns.jsonl') ?? '')
      .trim()
      .split('\n')
      .map((line) => questionKey((JSON.parse(line) as { user_message: string }).user_message));
    expect(new Set(keys).size).toBe(keys.length);

    const expected = await filesWithoutTimes(undisturbed);
    expect([...files.keys()]).toEqual([...expected.keys()]);
    for (const [path, text] of expected) expect(files.get(path) === text, path).toBe(true);

    const durableAt = new Map<string, number>();
    for (const { key, atMs } of await journalled(killed))
      durableAt.set(key, Math.min(atMs, durableAt.get(key) ?? Infinity));
    expect(durableAt.size).toBeGreaterThan(500);
    const paidAgain = rehearsal
      .log()
      .filter(
        (entry) => entry.event === 'arrival' && entry.at_ms > (durableAt.get(entry.key) ?? Infinity) + 1,
      );
    expect(paidAgain.map((entry) => entry.key)).toEqual([]);
  } finally {
    await rehearsal.close();
  }
});
