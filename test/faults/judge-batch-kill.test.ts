/** `judge --batch` as a person runs it: the same files as without, whenever it was killed. */
import { expect, test } from 'vitest';
import { type Rehearsal, startRehearsal } from '../../src/llm/rehearsal/server.ts';
import { type BatchProxy, startBatchProxy } from '../support/batch-proxy.ts';
import { type CliProject, makeProject } from '../support/cli-project.ts';

const SAMPLES = 6;
/** The command is killed when it makes this request for the n-th time; `lose`: it was carried out, `drop`: it was not. */
const MOMENTS: readonly (readonly [call: string, count: number, fate: 'lose' | 'drop'])[] = [
  ['POST /v1/files', 1, 'lose'],
  ['POST /v1/batches', 1, 'drop'],
  ['POST /v1/batches', 2, 'lose'],
  // The second file has the errors: the answers of the first one are journalled, and their batch is not settled.
  ['GET /v1/files/<id>/content', 2, 'drop'],
  ['GET /v1/batches/<id>', 2, 'lose'],
  // All is asked once by now: this is the batch of repairs and of what failed.
  ['POST /v1/batches', 1, 'lose'],
];

const configFor = (url: string) => ({
  run: {
    run_id: 'judged',
    total_samples: SAMPLES,
    batch_size: 16,
    target_languages: ['english', 'french'],
    turns: { mode: 'range', min: 2, max: 3, mean: 2 },
  },
  llm: {
    backend: 'openai',
    agents: Object.fromEntries(
      ['user', 'assistant', 'judge'].map((role) => [
        role,
        { provider: 'hosted_vllm', model: 'rehearsal', base_url: url },
      ]),
    ),
  },
  judge: { mode: 'offline', batch: { max_requests: 16 } },
});

interface Report {
  readonly asked: number;
  readonly calls: number;
  readonly batches: Readonly<Record<'created' | 'requests' | 'ignored' | 'open', number>> | null;
}

async function judged(project: CliProject, ...args: string[]): Promise<Report> {
  const done = await project.run(['judge', 'config.yaml', '--json', ...args]);
  expect(done.code, done.stderr).toBe(0);
  return JSON.parse(done.stdout) as Report;
}

async function made(rehearsal: Rehearsal, proxy: BatchProxy): Promise<CliProject> {
  const project = await makeProject(configFor(proxy.url));
  const run = await project.run(['run', 'config.yaml']);
  expect(run.code, run.stderr).toBe(0);
  rehearsal.reset();
  return project;
}

async function artifacts(project: CliProject): Promise<Map<string, string>> {
  return new Map([...(await project.files())].filter(([path]) => !path.startsWith('run_state')));
}

const paidTwice = (rehearsal: Rehearsal): string[] => {
  const paid = rehearsal.log().filter(({ event, status }) => event === 'completion' && status === 200);
  const times = Map.groupBy(paid, ({ key }) => key);
  return [...times].filter(([, entries]) => entries.length > 1).map(([key]) => key);
};

test(`A10 ${MOMENTS.length} times kill -9 while a batch is made, created, waited for and fetched: no request is paid for twice`, async () => {
  const rehearsal = await startRehearsal({ seed: 5, log_limit: 1_000_000 });
  await using proxy = await startBatchProxy(rehearsal.url);
  await using project = await made(rehearsal, proxy);
  try {
    // Some requests fail and some answers need a repair, so that kills come between rounds, too.
    rehearsal.setOptions({ malformed_rate: 0.15, batch: { duration_ms: 300, request_error_rate: 0.2 } });
    for (const [call, count, fate] of MOMENTS) {
      const running = project.start(['judge', 'config.yaml', '--batch']);
      let seen = 0;
      proxy.rule = (request) => {
        if (request.call === call) seen += 1;
        if (request.call !== call || seen !== count) return 'pass';
        running.child.kill('SIGKILL');
        return fate;
      };
      const { signal, stderr } = await running.finished;
      expect(signal, `${call} did not come: ${stderr}`).toBe('SIGKILL');
    }
    proxy.rule = () => 'pass';
    const last = await judged(project, '--batch');
    expect(paidTwice(rehearsal)).toEqual([]);
    expect(last.calls).toBe(rehearsal.stats().answered);
    expect(last.batches).toMatchObject({ ignored: 0, open: 0 });
    const files = await artifacts(project);

    // The same without batches: the same files.
    expect((await judged(project, '--rejudge')).batches).toBeNull();
    expect(await artifacts(project)).toEqual(files);
  } finally {
    await rehearsal.close();
  }
});

test('an endpoint without a batch API is said to have none; Ctrl-C leaves the batch, and the same command or one without --batch goes on', async () => {
  const rehearsal = await startRehearsal({ seed: 5, log_limit: 1_000_000 });
  await using proxy = await startBatchProxy(rehearsal.url);
  await using project = await made(rehearsal, proxy);
  try {
    rehearsal.setOptions({ batch: { is_supported: false } });
    const refused = await project.run(['judge', 'config.yaml', '--batch']);
    expect(refused.stderr).toContain('has no batch API');
    expect(refused.stderr).toContain('Leave --batch out');
    expect(refused.code).toBe(1);
    expect(rehearsal.stats().requests).toBe(0);

    rehearsal.setOptions({ batch: { is_supported: true, duration_ms: 2_000 } });
    const running = project.start(['judge', 'config.yaml', '--batch', '--language', 'french']);
    await running.shown('batch 1 of 1: ');
    running.child.kill('SIGINT');
    const stopped = await running.finished;
    expect(stopped.code, stopped.stderr).toBe(130);
    expect(stopped.stderr).toContain('A batch goes on at ');
    expect(stopped.stderr).toContain('The same command fetches what is answered');
    rehearsal.setOptions({ batch: { duration_ms: 0 } });
    // Answers in another language than is asked for now are not lost.
    expect((await judged(project, '--batch', '--language', 'english', '--limit', '1')).batches?.created).toBe(
      1,
    );
    expect((await judged(project, '--batch', '--language', 'french')).batches?.created).toBe(0);

    // Without --batch the open batch is cancelled: what it goes on to answer would be paid for twice.
    rehearsal.setOptions({ batch: { duration_ms: 10_000 } });
    const another = project.start(['judge', 'config.yaml', '--batch']);
    await another.shown('batch 1 of 1: ');
    another.child.kill('SIGKILL');
    await another.finished;
    expect((await judged(project)).batches).toBeNull();
    expect((await judged(project)).asked).toBe(0);
    expect(paidTwice(rehearsal)).toEqual([]);
  } finally {
    await rehearsal.close();
  }
});
