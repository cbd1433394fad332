/**
 * One dataset on one process, on three nodes, and on three nodes while a nemesis kills or freezes something
 * every five seconds. `cluster-checker.ts` decides.
 *
 * Long runs by hand; the seed that was used is printed, and the same seed strikes in the same order:
 *
 *   DLGFORGE_NEMESIS_SEED=7 DLGFORGE_NEMESIS_SECONDS=600 npx vitest run --project times cluster-nemesis
 *
 *   DLGFORGE_NEMESIS_SEED       any text; `random` draws one
 *   DLGFORGE_NEMESIS_SECONDS    about how long it rages (default 35)
 *   DLGFORGE_NEMESIS_EVERY_MS   time between two faults (default 5000)
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type Finished, makeProject, withoutTimes } from '../support/cli-project.ts';
import { brokenPromises, differingFiles, wastedCalls } from '../support/cluster-checker.ts';
import { factsOf } from '../support/cluster-facts.ts';
import { type ClusterLab, startLab } from '../support/cluster-lab.ts';
import { startNemesis } from '../support/cluster-nemesis.ts';

const given = process.env['DLGFORGE_NEMESIS_SEED'] ?? '3';
const SEED = given === 'random' ? randomBytes(4).toString('hex') : given;
const SECONDS = Number(process.env['DLGFORGE_NEMESIS_SECONDS'] ?? 35);
const EVERY_MS = Number(process.env['DLGFORGE_NEMESIS_EVERY_MS'] ?? 5_000);

const LANGUAGES = ['english', 'french'];
const MAX_IN_FLIGHT = 8;
/** What the endpoint can do of this run in the time, and about half of that is lost to faults. */
const CALLS_EACH = 13;
const MEAN_MS = 250;
const SAMPLES = Math.ceil((SECONDS * 0.5 * MAX_IN_FLIGHT * 1_000) / MEAN_MS / CALLS_EACH / LANGUAGES.length);
const QUICK = { distribution: 'fixed', mean_ms: 5 } as const;
const SLOW = { distribution: 'lognormal', mean_ms: MEAN_MS, sigma: 0.8 } as const;
const RUN = 'same-dataset';

const configFor = (distributed: boolean) => (endpoint: string) => ({
  run: {
    run_id: RUN,
    total_samples: SAMPLES,
    batch_size: 12,
    target_languages: LANGUAGES,
    turns: { mode: 'range', min: 2, max: 4, mean: 3 },
    distributed: {
      enabled: distributed,
      auto_start_local: false,
      spawn: { coordinator: false, workers: false },
    },
  },
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
  judge: { mode: 'online' },
});

let rehearsal: Rehearsal;
let expected: Map<string, string>;

beforeAll(async () => {
  rehearsal = await startRehearsal({ seed: 11, duplicate_rate: 0.1, latency: QUICK, log_limit: 1_000_000 });
  await using alone = await makeProject(configFor(false)(`${rehearsal.url}/v1`));
  const finished = await alone.run(['run', 'config.yaml']);
  expect(finished.code, finished.stderr).toBe(0);
  expected = filesWithoutTimes(await alone.files());
  rehearsal.reset();
});
afterAll(() => rehearsal.close());

const filesWithoutTimes = (files: ReadonlyMap<string, string>): Map<string, string> =>
  new Map([...files].map(([path, text]) => [path, withoutTimes(text)]));

async function judge(lab: ClusterLab, disruptions: number): Promise<string> {
  const facts = await factsOf(lab.store, RUN, rehearsal.log());
  const promised = { languages: LANGUAGES, samples: SAMPLES, maxInFlight: MAX_IN_FLIGHT, disruptions };
  expect(brokenPromises(facts, promised)).toEqual([]);
  const files = filesWithoutTimes(await lab.project.files());
  expect(differingFiles(expected, files)).toEqual([]);
  expect(facts.journal.length).toBeGreaterThan(SAMPLES);
  const calls = facts.requests.filter(({ event }) => event === 'arrival').length;
  const moves = facts.events.filter(({ type }) => type === 'CoordinatorStarted').length - 1;
  return `${calls} calls, ${wastedCalls(facts).length} wasted, ${moves} moves of the coordinator`;
}

test('the same bytes on three nodes as in one process', async () => {
  rehearsal.setOptions({ latency: QUICK });
  await using lab = await startLab({ rehearsal, config: configFor(true) });
  await Promise.all([lab.startAgent(), lab.startAgent(), lab.startAgent()]);
  const finished = await lab.run(['run', 'config.yaml']);
  expect(finished.code, finished.stderr).toBe(0);
  await judge(lab, 0);
});

test(`the same bytes while something is killed or frozen every ${EVERY_MS / 1000} s (seed ${SEED})`, async () => {
  rehearsal.reset();
  rehearsal.setOptions({ latency: SLOW });
  const said: string[] = [];
  const say = (text: string): void => {
    said.push(text);
    process.stderr.write(`nemesis ${SEED}: ${new Date().toISOString().slice(11, 23)} ${text}\n`);
  };
  await using lab = await startLab({ rehearsal, config: configFor(true) });
  await Promise.all([lab.startAgent({ workers: 2 }), lab.startAgent(), lab.startAgent()]);
  let follower = lab.start(['run', 'config.yaml']);
  const startedAtMs = Date.now();
  const nemesis = startNemesis({
    lab,
    seed: SEED,
    everyMs: EVERY_MS,
    follower: () => follower,
    followAgain: () => {
      follower = lab.start(['run', 'config.yaml']);
    },
    say,
  });
  try {
    const end = await endOf(() => follower);
    expect(end.code, end.stderr).toBe(0);
  } finally {
    await nemesis.stop();
  }
  const seconds = (Date.now() - startedAtMs) / 1000;
  const judged = await judge(lab, nemesis.disruptions);
  say(`${nemesis.done.length} faults in ${seconds.toFixed(0)} s; ${judged}`);
  expect(nemesis.done.length, said.join('; ')).toBeGreaterThanOrEqual(6);
});

/** Of the one that was not killed on purpose. */
async function endOf(follower: () => { readonly finished: Promise<Finished> }): Promise<Finished> {
  for (;;) {
    const current = follower();
    const finished = await current.finished;
    if (finished.signal === null) return finished;
    // Killed; another one is started in a moment.
    await expect.poll(follower, { timeout: 10_000 }).not.toBe(current);
  }
}
