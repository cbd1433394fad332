import { expect, test } from 'vitest';
import type { DatasetId } from '../../src/kernel/ids.ts';
import type { Store } from '../../src/ports/store.ts';
import { judgePrefix, type StoredVerdict } from '../../src/ports/verdicts.ts';
import { uniform } from '../../src/kernel/random.ts';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type CliProject, makeProject, withoutTimes } from '../support/cli-project.ts';

const SAMPLES = 14;
/** What has been printed when a kill is due; it comes up to so many milliseconds later. */
const MOMENTS: readonly (readonly [string, number])[] = [
  ...Array.from({ length: 7 }, () => [' verdicts on ', 250] as const),
  ['writing the files', 40],
  ['bringing the files up to date', 60],
  ['bringing the files up to date', 150],
];
const KILLS = MOMENTS.length;
const MAX_IN_FLIGHT = 6;
const LATENCY = { distribution: 'lognormal', mean_ms: 160, sigma: 0.6 } as const;

const configFor = (rehearsal: Rehearsal) => ({
  run: {
    run_id: 'judged',
    total_samples: SAMPLES,
    batch_size: 16,
    target_languages: ['english', 'french'],
    turns: { mode: 'range', min: 2, max: 3, mean: 2 },
  },
  llm: {
    backend: 'openai',
    max_in_flight: MAX_IN_FLIGHT,
    agents: Object.fromEntries(
      ['user', 'assistant', 'judge'].map((role) => [
        role,
        { provider: 'hosted_vllm', model: 'rehearsal', base_url: `${rehearsal.url}/v1` },
      ]),
    ),
  },
  judge: { mode: 'offline' },
});

interface Kept {
  readonly verdicts: readonly StoredVerdict[];
  /** When each paid answer became durable, by the server's own key of the request. */
  readonly durableAt: ReadonlyMap<string, number>;
}

const keptBy = (project: CliProject): Promise<Kept> =>
  project.withStore(async (store) => {
    const [run] = await store.listRuns();
    if (run === undefined) throw new Error('the project has a run');
    const durableAt = new Map<string, number>();
    for (const { id } of await store.journal.list(judgePrefix(run.datasetId))) {
      for (const { event, atMs } of await store.journal.read(id)) {
        const { answer } = event as { answer?: { raw: { id: string } } };
        if (answer !== undefined) durableAt.set(answer.raw.id.replace('chatcmpl-', ''), atMs);
      }
    }
    return { verdicts: await verdictsIn(store, run.datasetId), durableAt };
  });

async function verdictsIn(store: Store, id: DatasetId): Promise<readonly StoredVerdict[]> {
  const shown = await store.verdicts.shown(id);
  if (shown === null) return [];
  const ids: string[] = [];
  for await (const { conversationId } of store.committed(id, 0)) ids.push(conversationId);
  return await store.verdicts.of(id, shown.pass.id, ids);
}

const filesOf = async (project: CliProject): Promise<Map<string, string>> =>
  new Map([...(await project.files())].map(([path, text]) => [path, withoutTimes(text)]));

/** A judge that gave no verdict is asked again by the same command, until there is nothing left to ask. */
async function judgeToTheEnd(project: CliProject): Promise<void> {
  for (let commands = 1; ; commands += 1) {
    const judged = await project.run(['judge', 'config.yaml', '--json']);
    expect(judged.code, judged.stderr).toBe(0);
    const report = JSON.parse(judged.stdout) as { readonly asked: number };
    expect(report).toMatchObject({ status: 'completed', published: true });
    if (report.asked === 0) return;
    expect(commands).toBeLessThan(6);
  }
}

test(`A10 ${KILLS} times kill -9 while judging: no verdict is paid for twice, and the files end as if nothing had happened`, async () => {
  const rehearsal = await startRehearsal({ seed: 5, log_limit: 1_000_000 });
  await using undisturbed = await makeProject(configFor(rehearsal));
  await using killed = await makeProject(configFor(rehearsal));
  try {
    for (const project of [undisturbed, killed]) {
      const made = await project.run(['run', 'config.yaml']);
      expect(made.code, made.stderr).toBe(0);
    }
    // Some answers need a repair, so that kills also come between the two.
    rehearsal.setOptions({ malformed_rate: 0.15 });
    await judgeToTheEnd(undisturbed);
    rehearsal.reset();
    rehearsal.setOptions({ latency: LATENCY });

    for (const [attempt, [text, withinMs]] of MOMENTS.entries()) {
      const running = killed.start(['judge', 'config.yaml']);
      await running.shown(text);
      await new Promise((resolve) => setTimeout(resolve, uniform(['judge kill', attempt]) * withinMs));
      running.child.kill('SIGKILL');
      expect((await running.finished).signal, `kill ${attempt} came too late`).toBe('SIGKILL');
    }
    await judgeToTheEnd(killed);

    const { verdicts, durableAt } = await keptBy(killed);
    const arrivals = rehearsal.log().filter(({ event }) => event === 'arrival');
    // Nothing that was durable was asked again, and beyond that only what was in flight at a kill is lost.
    const paidAgain = arrivals.filter(({ key, at_ms }) => at_ms > (durableAt.get(key) ?? Infinity) + 1);
    expect(paidAgain).toEqual([]);
    expect(arrivals.length).toBeLessThanOrEqual(durableAt.size + KILLS * MAX_IN_FLIGHT);
    expect(arrivals.length).toBeGreaterThan(durableAt.size);
    expect(durableAt.size).toBeGreaterThan(verdicts.length);
    expect(verdicts.filter(({ verdict }) => verdict === null)).toEqual([]);
    expect(verdicts.length).toBe((await keptBy(undisturbed)).verdicts.length);

    const [expected, files] = [await filesOf(undisturbed), await filesOf(killed)];
    expect([...files.keys()]).toEqual([...expected.keys()]);
    for (const [path, text] of expected) expect(files.get(path) === text, path).toBe(true);
  } finally {
    await rehearsal.close();
  }
});
