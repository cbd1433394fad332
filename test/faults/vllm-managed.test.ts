/** Servers that dlgforge starts itself, in a run of one process: whatever they do, the counts are exact and nothing is left. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { expect, test, type TestContext } from 'vitest';
import { signal } from '../support/cluster-processes.ts';
import {
  type ManagedOptions,
  type ManagedProject,
  managedProject,
  SAMPLES,
} from '../support/managed-project.ts';
import { waitFor } from '../support/processes.ts';

type AtEnd = TestContext['onTestFinished'];

/** Tests that run side by side each have an end of their own. */
async function scene(onTestFinished: AtEnd, options: ManagedOptions = {}): Promise<ManagedProject> {
  const made = await managedProject(options);
  onTestFinished(async () => {
    for (const pid of made.left()) signal(pid, 'SIGKILL');
    await made[Symbol.asyncDispose]();
  });
  return made;
}

/** Exact counts, and no process that carries a mark of ours. */
async function expectAllWell(made: ManagedProject, stderr: string): Promise<void> {
  expect(stderr).toMatch(/Run managed: completed in/);
  expect(await made.rows(), stderr).toBe(SAMPLES);
  await expectNothingLeft(made);
}

const expectNothingLeft = async (made: ManagedProject): Promise<void> =>
  void (await waitFor(
    () => (made.left().length === 0 ? true : undefined),
    5_000,
    () => `left: ${made.left().join(', ')}`,
  ));

const SLOW = { rehearsal: { latency: { mean_ms: 150 } } };

test.concurrent('a normal, slow start: phases are shown, every role asks for the served name (H10), no provider key reaches it', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished, { behaviour: { start_ms: 2_000 } });
  const running = made.start();
  await running.shown('replica 0');
  const { pid } = await waitFor(
    () => made.starts()[0],
    10_000,
    () => 'no start',
  );
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
  expect(environment).toContain('STAND_IN_FOLDER');
  expect(environment).not.toContain('sk-of-the-provider');
  const { code, stderr } = await running.finished;
  expect(code, stderr).toBe(0);
  await expectAllWell(made, stderr);
  const phases = new Set(stderr.match(/(?<=replica 0: )[a-z ]+/g));
  expect([...phases]).toEqual(expect.arrayContaining(['loading the weights']));
  expect(made.starts()).toHaveLength(1);
  // Nobody else asks the server of a run in one process.
  expect(made.starts()[0]?.args.join(' ')).toContain('--host 127.0.0.1');
  expect(made.log(0)).toContain('Application startup complete');
  // `dlgforge judge` has its servers too.
  const judged = await made.project.start(['judge', 'config.yaml', '--rejudge'], {
    STAND_IN_FOLDER: made.folder,
  }).finished;
  expect(judged.code, judged.stderr).toBe(0);
  expect(judged.stderr).toMatch(/managed-vllm-0/);
  expect(made.starts()).toHaveLength(2);
  await expectNothingLeft(made);
  console.info('slow start: phases', [...phases].join(', '), 'and 8 verdicts afterwards');
});

test.concurrent('a missing program ends it before anything is started, with the line that installs it', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished, { vllm: { command: 'no-such-vllm' } });
  const { code, stderr } = await made.run();
  expect(code).not.toBe(0);
  expect(stderr).toContain('no-such-vllm is not on the PATH');
  expect(stderr).toContain('pip install vllm');
  await expect(made.rows()).rejects.toThrow('ENOENT');
  console.info('missing program:', stderr.trim().split('\n').at(-1));
});

test.concurrent('not enough GPUs end it before anything is started, with a table of what there is', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished, { vllm: { num_gpus_per_replica: 40 } });
  const { code, stderr } = await made.run();
  expect(code).not.toBe(0);
  expect(stderr).toContain('not enough free GPUs for 1 server with 40 GPUs each');
  expect(stderr).toMatch(/node +GPUs +free +free memory/);
  expect(made.starts()).toEqual([]);
  const { stdout: diagnosis } = await made.project.run(['doctor', 'config.yaml']);
  expect(diagnosis).toContain('vllm-stand-in/vllm is there');
  expect(diagnosis).toContain('not enough free GPUs for 1 server');
  const { stderr: refused } = await made.run([], { DLGFORGE_VLLM_COMMANDS: 'vllm,other' });
  expect(refused).toContain('DLGFORGE_VLLM_COMMANDS lists vllm, other');
  console.info('GPUs:', stderr.split('\n').filter((line) => line.includes('this machine'))[0]);
});

test.concurrent('an occupied port: the next free one is taken; with VLLM_API_KEY the server demands it, and nothing shows it', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished);
  const other = createServer().listen(made.port, '127.0.0.1');
  await once(other, 'listening');
  onTestFinished(() => void other.close());
  const key = 'key-of-the-servers-0123456789';
  const { code, stderr } = await made.run([], { VLLM_API_KEY: key });
  expect(code, stderr).toBe(0);
  await expectAllWell(made, stderr);
  expect(made.starts()[0]?.port).toBeGreaterThan(made.port);
  expect(made.starts()[0]?.args.join(' ')).not.toContain(key);
  expect(made.runLog() + made.log(0) + stderr).not.toContain(key);
  console.info('occupied port:', made.port, 'taken, served on', made.starts()[0]?.port);
});

test.concurrent('a wrong model is told with what is served instead', async ({ onTestFinished }) => {
  const made = await scene(onTestFinished, { behaviour: { other_model: 'something-else' } });
  const { code, stderr } = await made.run();
  expect(code).not.toBe(0);
  expect(stderr).toContain('it serves something-else, and tiny was asked for');
  expect(stderr).toMatch(/The last lines of .*vllm-0\.log/);
  expect(made.starts()).toHaveLength(1);
  await expectNothingLeft(made);
  console.info('wrong model:', /it serves.*/.exec(stderr)?.[0]);
});

test.concurrent('death while loading (H4): restarts, then an error with its last lines; nothing is left, no run is written', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished, {
    behaviour: { start_ms: 200, loading_status: 3 },
    vllm: { max_restarts: 1 },
  });
  const { code, stderr } = await made.run();
  expect(code).not.toBe(0);
  expect(made.starts()).toHaveLength(2);
  expect(stderr).toContain('No vLLM server is left');
  expect(stderr).toContain('it ended with status 3 before it served');
  expect(stderr).toContain('torch.OutOfMemoryError');
  await expectNothingLeft(made);
  const { stdout } = await made.project.run(['runs', 'list', '--json']);
  expect(JSON.parse(stdout)).toEqual([]);
  console.info('death while loading: 2 starts, last line shown');
});

test.concurrent('a server that never becomes healthy ends it after health_timeout_s (H4)', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished, {
    behaviour: { unhealthy: true },
    vllm: { health_timeout_s: 1.5 },
  });
  const { code, stderr } = await made.run();
  expect(code).not.toBe(0);
  expect(stderr).toContain('it did not become healthy within 1.5 s');
  expect(made.starts()).toHaveLength(1);
  await expectNothingLeft(made);
  console.info('never healthy:', /it did not become.*?\./.exec(stderr)?.[0]);
});

test.concurrent('exit 0 in the middle is a crash: it is started again, and the counts are exact', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished, {
    behaviour: [{ ...SLOW, die_after_requests: 9, die_status: 0 }, {}],
  });
  const { code, stderr } = await made.run();
  expect(code, stderr).toBe(0);
  await expectAllWell(made, stderr);
  expect(made.starts()).toHaveLength(2);
  console.info('exit 0 in the middle: 2 starts,', await made.rows(), 'rows');
});

test.concurrent('a hung engine behind a healthy API is killed and started again, also with max_retries: 0', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished, {
    behaviour: [{ ...SLOW, hang_after_requests: 7 }, {}],
    vllm: { no_progress_timeout_s: 2 },
    agents: { user: { max_retries: 0 }, assistant: { max_retries: 0 }, judge: { max_retries: 0 } },
  });
  const { code, stderr } = await made.run();
  expect(code, stderr).toBe(0);
  await expectAllWell(made, stderr);
  expect(made.starts()).toHaveLength(2);
  expect(made.runLog()).toContain('it has made no token for');
  expect(stderr).not.toContain('dropped:');
  console.info('hung engine:', /it has made no token.*?waiting/.exec(made.runLog())?.[0]);
});

test.concurrent.for(['none', 'still'] as const)(
  'a hung engine is found by our own request where the metrics are %s',
  async (metrics, { onTestFinished }) => {
    const made = await scene(onTestFinished, {
      behaviour: [{ ...SLOW, metrics, hang_after_ms: 3_000 }, {}],
      run: { total_samples: 16 },
      vllm: { no_progress_timeout_s: 2 },
    });
    const { code, stderr } = await made.run();
    expect(code, stderr).toBe(0);
    expect(await made.rows(), stderr).toBe(16);
    await expectNothingLeft(made);
    expect(made.starts()).toHaveLength(2);
    expect(made.runLog()).toContain('a request for one token had no answer in 2');
    expect(stderr).not.toContain('dropped:');
  },
);

test.concurrent('two replicas of which one flaps: it is given up, the run goes on with the other, and the counts are exact', async ({
  onTestFinished,
}) => {
  // By time, not by requests: after its restart it is sent little at first.
  const flapping = { ...SLOW, die_after_ms: 1_200, die_status: 5 };
  const made = await scene(onTestFinished, {
    behaviour: { ports: { '*': SLOW } },
    // Enough that the run outlasts both of its lives.
    run: { total_samples: 24 },
    vllm: { replicas: 2, max_restarts: 1 },
  });
  made.behave({ ports: { [String(made.port)]: flapping, '*': SLOW } });
  const { code, stderr } = await made.run();
  expect(code, stderr).toBe(0);
  expect(stderr).toMatch(/Run managed: completed in/);
  expect(await made.rows(), stderr).toBe(24);
  await expectNothingLeft(made);
  const flaps = made.starts().filter(({ port }) => port === made.port).length;
  expect(flaps).toBe(2);
  // Its second life may end before it has been seen to serve.
  expect(made.runLog()).toMatch(/replica \d is given up: it ended with status 5/);
  console.info('one flaps:', flaps, 'starts of it,', made.starts().length - flaps, 'of the other');
});

test.concurrent('when none is left the run ends, resumable, with the reason and the last lines; the next goes on', async ({
  onTestFinished,
}) => {
  const dies = { ...SLOW, die_after_requests: 6, die_status: 9 };
  const made = await scene(onTestFinished, { behaviour: dies, vllm: { max_restarts: 0 } });
  const { code, stderr } = await made.run();
  expect(code).not.toBe(0);
  expect(stderr).toContain('No vLLM server is left');
  expect(stderr).toContain('it ended with status 9 while it served');
  await expectNothingLeft(made);
  const again = await made.project.start(['run', 'config.yaml', '--resume', 'managed'], {
    STAND_IN_BEHAVIOUR: '{}',
  }).finished;
  expect(again.code, again.stderr).toBe(0);
  await expectAllWell(made, again.stderr);
  console.info('none left: resumed to', await made.rows(), 'rows');
});

test.concurrent('Ctrl-C stops the servers; a run that is killed leaves none either', async ({
  onTestFinished,
}) => {
  const made = await scene(onTestFinished, { behaviour: SLOW, run: { total_samples: 40 } });
  const running = made.start();
  await waitFor(
    () => (made.starts().length > 0 ? true : undefined),
    60_000,
    () => 'no start',
  );
  running.child.kill('SIGINT');
  expect((await running.finished).code).toBe(130);
  await expectNothingLeft(made);
  const killed = made.start();
  await waitFor(
    () => (made.starts().length > 1 ? true : undefined),
    60_000,
    () => 'no start',
  );
  killed.child.kill('SIGKILL');
  await killed.finished;
  await expectNothingLeft(made);
  console.info('Ctrl-C and SIGKILL: nothing left');
});

test.concurrent('kept servers stay, and the next run attaches to them', async ({ onTestFinished }) => {
  const made = await scene(onTestFinished, { vllm: { auto_stop_on_exit: false, num_gpus_per_replica: 1 } });
  // One GPU, which the kept server holds: the second run can only take that up.
  const environment = { PATH: `${made.gpus(1)}:${process.env['PATH']}` };
  const first = await made.run([], environment);
  expect(first.code, first.stderr).toBe(0);
  expect(made.left().length).toBeGreaterThan(0);
  const { code, stderr } = await made.project.start(['run', 'config.yaml', '--run-id', 'second'], {
    STAND_IN_FOLDER: made.folder,
    ...environment,
  }).finished;
  expect(code, stderr).toBe(0);
  expect(made.starts()).toHaveLength(1);
  expect(made.starts()[0]?.gpus).toBe('0');
  const other = await made.project.start(
    ['run', 'config.yaml', '--set', 'llm.vllm.max_num_seqs=9'],
    environment,
  ).finished;
  expect(other.stderr).toMatch(/this machine +1 +0 +0: 19.5 of 23.4 GB \(kept server, pid \d+\)/);
  expect(await made.rows()).toBe(2 * SAMPLES);
  // A run that keeps no servers takes it up as well, and stops it.
  const last = await made.run(['--run-id', 'last', '--set', 'llm.vllm.auto_stop_on_exit=true'], environment);
  expect(last.code, last.stderr).toBe(0);
  expect(made.starts()).toHaveLength(1);
  expect(made.left()).toEqual([]);
  console.info('kept: one start for three runs,', await made.rows(), 'rows');
});
