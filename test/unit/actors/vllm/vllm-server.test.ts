/** One supervised server on an imagined machine. */
import { expect, test } from 'vitest';
import {
  explained,
  probeHost,
  type ServerState,
  vllmServer,
  type VllmServerOptions,
} from '../../../../src/actors/vllm/vllm-server.ts';
import type { Terminated } from '../../../../src/actors/runtime/types.ts';
import { messageOf } from '../../../../src/kernel/errors.ts';
import type { ServerOrder } from '../../../../src/ports/server-process.ts';
import {
  type MemoryMachine,
  memoryMachine,
  type ServerScript,
} from '../../../support/memory-server-processes.ts';
import { type Bench, startBench } from '../runtime/fixtures.ts';

const ORDER: ServerOrder = {
  name: 'run-1/0',
  program: 'vllm',
  args: ['serve', 'm', '--served-model-name', 'served'],
  env: {},
  gpus: [0],
  address: { host: '0.0.0.0', portStart: 18_000 },
  logPath: 'logs/vllm-0.log',
  keep: false,
};

interface Scene extends Bench {
  readonly machine: MemoryMachine;
  readonly states: ServerState[];
  readonly ended: Terminated[];
  readonly stop: () => Promise<void>;
  readonly is: (type: ServerState['type']) => boolean;
}

function scene(scripts: readonly ServerScript[], options: Partial<VllmServerOptions> = {}): Scene {
  const bench = startBench({ strictMessages: false });
  const machine = memoryMachine(bench.clock);
  machine.script(...scripts);
  const states: ServerState[] = [];
  const ended: Terminated[] = [];
  const ref = bench.system.spawn(
    'server',
    vllmServer({
      ...machine,
      order: ORDER,
      found: null,
      models: ['served'],
      key: () => null,
      limits: { healthTimeoutMs: 60_000, noProgressMs: 20_000, maxRestarts: 2 },
      mayKeep: () => true,
      onState: (state) => void states.push(state),
      ...options,
    }),
  );
  bench.system.watch(ref, (terminated) => void ended.push(terminated));
  const is = (type: ServerState['type']): boolean => states.at(-1)?.type === type;
  return { ...bench, machine, states, ended, is, stop: () => bench.system.stopActor(ref) };
}

test('it says what it does until it serves, and is stopped with its actor', async () => {
  const { machine, states, until, is, stop } = scene([{ healthyAfterMs: 5_000 }]);
  await until(() => is('serving'));
  expect(states.map((state) => ('text' in state ? state.text : state.type))).toEqual([
    'starting',
    'loading the weights',
    'serving',
  ]);
  await stop();
  expect(machine.running()).toEqual([]);
});

test('H8 every end is a crash, status 0 too: it is started again after a pause', async () => {
  const { machine, until, is, clock } = scene([{ endsAfterMs: 10_000, status: 0, lines: ['bye'] }]);
  await until(() => is('serving'));
  await until(() => is('restarting'));
  const atMs = clock.now();
  await until(() => is('serving'));
  expect(machine.starts).toHaveLength(2);
  expect(clock.now() - atMs).toBeGreaterThanOrEqual(500);
});

test('after its restarts it is given up, with the reason and the last lines', async () => {
  const dies = { endsAfterMs: 100, status: 3, lines: ['Traceback', 'CUDA out of memory'] };
  const { machine, ended, until } = scene([dies, dies, dies]);
  await until(() => ended.length > 0);
  expect(machine.starts).toHaveLength(3);
  expect(ended[0]?.reason).toBe('given_up');
  expect(messageOf(ended[0]?.error)).toBe(
    'it ended with status 3 before it served\nThe last lines of logs/vllm-0.log:\n  | Traceback\n  | CUDA out of memory',
  );
  expect(machine.running()).toEqual([]);
});

test('one that does not become healthy in time is given up at once: it would not do better', async () => {
  const { machine, states, ended, until, clock } = scene([{ healthyAfterMs: 1e9 }]);
  await until(() => ended.length > 0);
  expect(machine.starts).toHaveLength(1);
  expect(clock.now()).toBeLessThan(62_000);
  expect(states.at(-1)).toMatchObject({
    type: 'given_up',
    text: expect.stringContaining('health_timeout_s'),
  });
  expect(machine.running()).toEqual([]);
});

test('a wrong model is named with what is served', async () => {
  const { states, ended, until } = scene([{ serves: ['other', 'third'] }]);
  await until(() => ended.length > 0);
  expect(states.at(-1)).toMatchObject({
    type: 'given_up',
    text: expect.stringContaining('it serves other, third, and served was asked for'),
  });
});

test('a server whose health answers and that makes no token while requests wait is killed and started again', async () => {
  const { machine, until, is, clock } = scene([{}]);
  await until(() => is('serving'));
  const [first] = machine.running();
  if (first === undefined) throw new Error('none runs');
  first.load = { running: 3, waiting: 2, tokens: 500 };
  const stuckAtMs = clock.now();
  await until(() => is('restarting'));
  expect(clock.now() - stuckAtMs).toBeGreaterThanOrEqual(18_000);
  expect(clock.now() - stuckAtMs).toBeLessThan(26_000);
  expect(first.isRunning).toBe(false);
  await until(() => is('serving'));
  expect(machine.starts).toHaveLength(2);
});

test('tokens, or nothing to do, are progress', async () => {
  const { machine, until, is, clock, states } = scene([{}]);
  await until(() => is('serving'));
  const [server] = machine.running();
  if (server === undefined) throw new Error('none runs');
  server.load = { running: 1, waiting: 0, tokens: 0 };
  for (let tick = 0; tick < 40; tick += 1) {
    server.load.tokens += 1;
    const atMs = clock.now() + 3_000;
    clock.schedule(3_000, () => undefined);
    await until(() => clock.now() >= atMs);
  }
  server.load = { running: 0, waiting: 0, tokens: 40 };
  const atMs = clock.now() + 100_000;
  await until(() => clock.now() >= atMs);
  expect(states.filter(({ type }) => type === 'restarting')).toEqual([]);
  expect(machine.starts).toHaveLength(1);
});

test.each([
  ['none', null],
  [
    'those of an idle server, because the engine that fills them stands still',
    { running: 0, waiting: 0, tokens: 7 },
  ],
])('a hung server is found by a request for one token where its metrics are %s', async (_name, load) => {
  const { machine, until, is, clock, states } = scene([{}]);
  await until(() => is('serving'));
  const [first] = machine.running();
  if (first === undefined) throw new Error('none runs');
  first.load = load;
  const wellUntilMs = clock.now() + 100_000;
  await until(() => clock.now() >= wellUntilMs);
  expect(is('serving')).toBe(true);
  // Every half of the time that it may be without progress, and not more often.
  expect(first.asked).toBeGreaterThanOrEqual(7);
  expect(first.asked).toBeLessThanOrEqual(10);
  first.isHung = true;
  const hungAtMs = clock.now();
  await until(() => is('restarting'));
  expect(clock.now() - hungAtMs).toBeGreaterThanOrEqual(20_000);
  expect(clock.now() - hungAtMs).toBeLessThan(36_000);
  expect(states.at(-1)).toMatchObject({
    text: expect.stringContaining('a request for one token had no answer in 20 s'),
  });
  expect(first.isRunning).toBe(false);
  await until(() => is('serving'));
});

test('a request for one token that waits behind others is no hang, and a busy server is not asked', async () => {
  const { machine, until, is, clock, states } = scene([{}]);
  await until(() => is('serving'));
  const [server] = machine.running();
  if (server === undefined) throw new Error('none runs');
  await until(() => server.asked > 0);
  server.isHung = true;
  await until(() => server.asked > 1);
  server.load = { running: 64, waiting: 200, tokens: 0 };
  const asked = server.asked;
  for (let tick = 0; tick < 60; tick += 1) {
    server.load.tokens += 1;
    const atMs = clock.now() + 3_000;
    clock.schedule(3_000, () => undefined);
    await until(() => clock.now() >= atMs);
  }
  expect(states.filter(({ type }) => type === 'restarting')).toEqual([]);
  expect(server.asked).toBe(asked);
});

test('one whose health is silent is killed too', async () => {
  const { machine, until, is } = scene([{}]);
  await until(() => is('serving'));
  const [server] = machine.running();
  if (server === undefined) throw new Error('none runs');
  server.isSilent = true;
  await until(() => is('restarting'));
  expect(server.isRunning).toBe(false);
});

test('a kept server is taken over instead of a start, and left when its actor stops', async () => {
  const kept = { ...ORDER, keep: true };
  const before = scene([{}], { order: kept });
  await before.until(() => before.is('serving'));
  await before.stop();
  const [server] = before.machine.running();
  expect(server?.isReleased).toBe(true);
  const found = await before.machine.processes.findKept(kept);
  expect(found).toBe(server);
});

test('texts', () => {
  expect(explained('it ended', [], 'x.log')).toBe('it ended (it wrote nothing into x.log)');
  expect(['0.0.0.0', '', '::', '10.0.0.1', 'fe80::1'].map(probeHost)).toEqual([
    '127.0.0.1',
    '127.0.0.1',
    '[::1]',
    '10.0.0.1',
    '[fe80::1]',
  ]);
});
