/** `push` is killed at moments all over its life: the export folder and the Hub hold the old or the new, whole. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { uniform } from '../../src/kernel/random.ts';
import { filesBelow, makeProject, type Running } from '../support/cli-project.ts';
import { type HubServer, startHub } from '../support/hub-server.ts';

/** Requests of a push, in their order; the one for the storage is of the card, which counts as large here. */
const REQUESTS = [
  /whoami/,
  /repos\/create/,
  /tree/,
  /preupload/,
  /objects\/batch/,
  /PUT \/storage/,
  /commit/,
];
const KILLS = 10;
const SEED = 20_261;
const TOKEN = 'hf_0123456789';

type Files = ReadonlyMap<string, string>;

test('A5, I9: killed at 10 moments, push leaves a whole export and whole commits, and the same command completes it', async () => {
  await using hub = await startHub({ token: TOKEN, largeBytes: 2_000 });
  await using project = await makeProject({
    run: { total_samples: 3, batch_size: 4, turns: { mode: 'exact', exact: 2 } },
    llm: { backend: 'rehearsal' },
    judge: { mode: 'online' },
    saving: { hf_push: { repo_id: 'somebody/data', generate_stats: true, clean_remote: true } },
  });
  const ran = await project.run(['run', 'config.yaml', '--quiet']);
  expect(ran.code, ran.stderr).toBe(0);
  // Each round pushes another card, so that old and new are told apart.
  const push = (round: number) =>
    project.start(['push', 'config.yaml', '--allow-rehearsal', '--license', `round-${round}`], {
      HF_ENDPOINT: hub.url,
      HF_TOKEN: TOKEN,
    });
  const outputs = join(project.folder, 'outputs');
  const first = push(0);
  await first.shown(BUILDING);
  const startedAtMs = performance.now();
  await first.shown('comparing with the Hub');
  const buildMs = performance.now() - startedAtMs;
  const { code, stderr: said } = await first.finished;
  expect(code, said).toBe(0);
  const whole = withoutRound(await localFiles(outputs));
  const roundOf = (files: Files): number => {
    expect(withoutRound(files)).toEqual(whole);
    return Number(ROUND.exec(files.get('README.md') ?? '')?.[1]);
  };

  /** While the Hub holds a request, which it answers afterwards; or at any moment of the building. */
  const killAt = async (running: Running, moment: number): Promise<void> => {
    const at = REQUESTS[moment];
    if (at === undefined) {
      await running.shown(BUILDING);
      await sleep(buildMs * uniform([SEED, moment]));
    } else {
      hub.fail({ at, times: 1, how: 'hold' });
      const ended = running.finished.then(({ stderr }) =>
        Promise.reject(new Error(`ended before ${at}: ${stderr}`)),
      );
      await Promise.race([hub.held(), ended]);
    }
    running.child.kill('SIGKILL');
    hub.release();
  };
  let [local, remote] = [0, 0];
  const seen = new Set<string>();
  for (const [index, moment] of shuffled(KILLS).entries()) {
    const round = index + 1;
    const running = push(round);
    await killAt(running, moment);
    const { signal, stderr } = await running.finished;
    const now = { local: roundOf(await localFiles(outputs)), remote: roundOf(remoteFiles(hub)) };
    expect([local, round], stderr).toContain(now.local);
    // The Hub gets what is whole here, or nothing.
    expect([remote, now.local], stderr).toContain(now.remote);
    ({ local, remote } = now);
    seen.add(`${signal}, export ${local === round ? 'new' : 'old'}, Hub ${remote === round ? 'new' : 'old'}`);
  }
  expect([...seen]).toEqual(
    expect.arrayContaining([
      'SIGKILL, export old, Hub old',
      'SIGKILL, export new, Hub old',
      'SIGKILL, export new, Hub new',
    ]),
  );

  const last = await push(KILLS + 1).finished;
  expect(last.code, last.stderr).toBe(0);
  expect(roundOf(remoteFiles(hub))).toBe(KILLS + 1);
  expect(remoteFiles(hub)).toEqual(await localFiles(outputs));
  expect(hub.problems).toEqual([]);
});

const BUILDING = 'building the export';

/** The numbers below `count` in an order that the seed decides. */
const shuffled = (count: number): number[] =>
  Array.from({ length: count }, (_, n) => n).sort(
    (a, b) => uniform([SEED, 'order', a]) - uniform([SEED, 'order', b]),
  );

const ROUND = /round-(\d+)/;

/** Everything but what differs from round to round. */
function withoutRound(files: Files): Files {
  return new Map([...files].map(([path, text]) => [path, text.replaceAll(/round-\d+/g, 'round')]));
}

/** Between two renames the old export lies beside its place, from where the next start takes it. */
async function localFiles(outputs: string): Promise<Files> {
  const inPlace = filesBelow(join(outputs, 'hf_export'));
  return await inPlace.catch(() => filesBelow(join(outputs, '.hf_export.dlgforge-old')));
}

function remoteFiles(hub: HubServer): Files {
  const files = [...(hub.repos.get('datasets/somebody/data')?.files ?? [])];
  return new Map(
    files
      .filter(([path]) => path !== '.gitattributes')
      .map(([path, bytes]): [string, string] => [path, bytes.toString()])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}
