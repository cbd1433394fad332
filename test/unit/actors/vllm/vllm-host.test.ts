/** Hosts of several nodes and the controller of a run, on imagined machines and a simulated clock. */
import { expect, test } from 'vitest';
import {
  decodeHostMessage,
  type HostMessage,
  type HostReply,
  type HostReport,
  vllmHostRef,
} from '../../../../src/actors/vllm/host-messages.ts';
import {
  type ReplicaController,
  startReplicaController,
} from '../../../../src/actors/vllm/replica-controller.ts';
import { vllmHost } from '../../../../src/actors/vllm/vllm-host.ts';
import { DlgforgeError } from '../../../../src/kernel/errors.ts';
import { runId } from '../../../../src/kernel/ids.ts';
import { silentLogger } from '../../../../src/kernel/logger.ts';
import type { RunEndpoint, RunWanted } from '../../../../src/ports/store.ts';
import { createMemoryTransport } from '../../../../src/transport/memory-transport.ts';
import { type MemoryMachine, memoryMachine } from '../../../support/memory-server-processes.ts';
import { SimulatedClock } from '../../../support/simulated-clock.ts';
import { type Bench, joinBench } from '../runtime/fixtures.ts';

const RUN = runId('run-1');

interface Node extends Bench {
  readonly name: string;
  readonly machine: MemoryMachine;
}

interface World {
  readonly clock: SimulatedClock;
  readonly nodes: Map<string, Node>;
  add(name: string, gpus: number, programs?: readonly string[]): Promise<Node>;
}

function world({ keep = false, gpuCount = 1 } = {}): World {
  const clock = new SimulatedClock();
  const transport = createMemoryTransport({ clock });
  const nodes = new Map<string, Node>();
  return {
    clock,
    nodes,
    async add(name, gpus, programs) {
      const bench = await joinBench(transport, { node: name, clock, strictMessages: false });
      const machine = memoryMachine(clock, programs ?? null);
      bench.system.spawn(
        'vllm-host',
        vllmHost({
          node: name,
          ...machine,
          gpus: async () => ({
            gpus: Array.from({ length: gpus }, (_, index) => ({
              index,
              freeMb: 1000 + index,
              totalMb: 2000,
            })),
            trouble: null,
          }),
          allows: () => undefined,
          orderOf: async (id, index) => ({
            server: {
              name: `${id}/${index}`,
              program: 'vllm',
              args: ['serve', 'm', '--served-model-name', 'm'],
              env: {},
              address: { host: '0.0.0.0', portStart: 18_000 },
              logPath: `vllm-${index}.log`,
              keep,
            },
            gpuCount,
            models: ['m'],
            key: () => null,
            keyVariable: null,
            limits: { healthTimeoutMs: 60_000, noProgressMs: 60_000, maxRestarts: 1 },
            baseUrl: (port) => `http://${name}:${port}/v1`,
          }),
        }),
      );
      const node = { ...bench, name, machine };
      nodes.set(name, node);
      return node;
    },
  };
}

interface Controlled {
  readonly controller: ReplicaController;
  readonly rows: Map<string, RunEndpoint>;
  readonly reasons: string[];
  wanted: RunWanted;
}

function control({ nodes, clock }: World, leader: Node, count: number, gpusPerReplica = 1): Controlled {
  const rows = new Map<string, RunEndpoint>();
  const reasons: string[] = [];
  const controlled = { rows, reasons, wanted: 'run' as RunWanted };
  const controller = startReplicaController({
    messenger: leader.system,
    hosts: () => new Map([...nodes.keys()].map((name) => [name, vllmHostRef(name)])),
    wanted: { runId: RUN, count, gpusPerReplica, orderHash: '' },
    endpoint: { model: 'm', maxInFlight: 64, roles: [] },
    endpoints: {
      read: async () => [...rows.values()],
      write: async (row) => void rows.set(row.name, row),
    },
    runWanted: async () => controlled.wanted,
    onNoneLeft: async (reason) => {
      reasons.push(reason);
      controlled.wanted = 'pause';
    },
    clock,
    logger: silentLogger,
  });
  return Object.assign(controlled, { controller });
}

const used = (rows: Map<string, RunEndpoint>): string[] =>
  [...rows.values()].filter(({ wanted }) => wanted === 'use').map(({ baseUrl }) => baseUrl);

const ask = <R>(node: Node, message: Record<string, unknown>): Promise<R> =>
  node.system.ask<HostMessage, R>(
    vllmHostRef(node.name),
    (replyTo) => ({ ...message, replyTo }) as unknown as HostMessage,
  );

async function finish({ controller }: Controlled, { clock }: World): Promise<void> {
  let stopped = false;
  const stopping = controller.stop().then(() => {
    stopped = true;
  });
  await clock.runUntil(() => stopped, { limitMs: 60_000 });
  await stopping;
}

test('orders are idempotent, only name a run, and give every replica GPUs of its own', async () => {
  const here = world({ gpuCount: 2 });
  const a = await here.add('a', 4);
  const start = { type: 'StartReplica', runId: RUN, index: 0 };
  let replies: HostReply[] = [];
  void Promise.all([
    ask<HostReply>(a, start),
    ask<HostReply>(a, start),
    ask<HostReply>(a, { ...start, index: 1 }),
  ]).then((heard) => {
    replies = heard;
  });
  await a.until(() => a.machine.starts.length === 2 && replies.length === 3);
  expect(replies.map(({ type }) => type)).toEqual(['accepted', 'accepted', 'accepted']);
  // Those with the most free memory first.
  expect(a.machine.starts.map(({ gpus }) => gpus)).toEqual([
    [3, 2],
    [1, 0],
  ]);
  expect(() =>
    decodeHostMessage({ ...start, replyTo: { node: 'a', correlation: 'x' }, program: '/bin/sh' }),
  ).toThrow(/program/);
  let report: HostReport | null = null;
  void ask<HostReport>(a, { type: 'ListReplicas' }).then((heard) => {
    report = heard;
  });
  await a.until(() => report !== null);
  expect(report).toMatchObject({ node: 'a', isLeaving: false });
});

test('replicas are spread, published when they serve, and placed elsewhere when their node is lost', async () => {
  const here = world();
  const a = await here.add('a', 1);
  const b = await here.add('b', 1);
  const controlled = control(here, a, 2);
  const { rows } = controlled;
  await a.until(() => used(rows).length === 2);
  expect(used(rows).sort()).toEqual(['http://a:18000/v1', 'http://b:18000/v1']);
  here.nodes.delete('b');
  await a.until(() => used(rows).length === 1);
  expect([...rows.values()].map(({ wanted }) => wanted).sort()).toEqual(['drain', 'use']);
  const c = await here.add('c', 1);
  await a.until(() => used(rows).includes('http://c:18000/v1'));
  expect(c.machine.starts).toHaveLength(1);
  expect(b.machine.starts).toHaveLength(1);
  await finish(controlled, here);
});

test('a new leader finds what is there and starts nothing twice', async () => {
  const here = world();
  const a = await here.add('a', 2);
  const b = await here.add('b', 2);
  const first = control(here, a, 3);
  await a.until(() => used(first.rows).length === 3);
  await finish(first, here);
  const second = control(here, b, 3);
  await a.until(() => used(second.rows).length === 3);
  expect(a.machine.starts.length + b.machine.starts.length).toBe(3);
  await finish(second, here);
});

test('a replica that is given up leaves the run to the others; with none left the reason is told once', async () => {
  const here = world();
  const a = await here.add('a', 2);
  const dies = { endsAfterMs: 3_000, status: 7, lines: ['out of memory'] };
  a.machine.script(dies, {}, dies);
  const controlled = control(here, a, 2);
  const { rows, reasons } = controlled;
  await a.until(() => [...rows.values()].some(({ wanted }) => wanted === 'remove'));
  expect(used(rows)).toHaveLength(1);
  expect(reasons).toEqual([]);
  const [other] = a.machine.running();
  a.machine.script({ endsAfterMs: 10, status: 9 });
  other?.end(0);
  await a.until(() => reasons.length > 0);
  const laterMs = here.clock.now() + 5_000;
  await a.until(() => here.clock.now() >= laterMs);
  expect(reasons).toHaveLength(1);
  expect(reasons[0]).toContain('No vLLM server is left');
  expect(reasons[0]).toContain('it ended with status 7 while it served');
  expect(reasons[0]).toContain('| out of memory');
  // The run pauses; when it goes on, both are tried again.
  controlled.wanted = 'pause';
  const before = a.machine.starts.length;
  const pausedMs = here.clock.now() + 5_000;
  await a.until(() => here.clock.now() >= pausedMs);
  expect(a.machine.starts).toHaveLength(before);
  controlled.wanted = 'run';
  await a.until(() => used(rows).length === 2);
  expect(reasons).toHaveLength(1);
  await finish(controlled, here);
});

test('a run that is told to go on before anybody has seen its pause is given servers anew', async () => {
  const here = world();
  const a = await here.add('a', 1);
  const controlled = control(here, a, 1);
  const { rows, reasons } = controlled;
  await a.until(() => used(rows).length === 1);
  for (let ends = 1; ends <= 2; ends += 1) {
    await a.until(() => a.machine.starts.length === ends && used(rows).length === 1);
    a.machine.running()[0]?.end(7);
    await a.until(() => used(rows).length === 0);
  }
  await a.until(() => reasons.length > 0);
  controlled.wanted = 'run';
  await a.until(() => used(rows).length === 1);
  expect(a.machine.starts).toHaveLength(3);
  expect(reasons).toHaveLength(1);
  await finish(controlled, here);
});

test('a node without the program says so, and another takes it', async () => {
  const here = world();
  const a = await here.add('a', 4, []);
  const b = await here.add('b', 1);
  const controlled = control(here, b, 1);
  await a.until(() => used(controlled.rows).length === 1);
  expect(used(controlled.rows)).toEqual(['http://b:18000/v1']);
  expect(a.machine.starts).toEqual([]);
  await finish(controlled, here);
  const alone = control({ ...here, nodes: new Map([['a', a]]) }, a, 1);
  await a.until(() => alone.reasons.length > 0);
  expect(alone.reasons[0]).toContain('a: There is no program vllm here. Install it: pip install vllm');
  await finish(alone, here);
});

test('a host stops the replicas of runs that are over, by itself; kept ones stay and are found again', async () => {
  const here = world({ keep: true });
  const a = await here.add('a', 1);
  const order = { runId: RUN, index: 0 };
  void ask<HostReply>(a, { type: 'StartReplica', ...order });
  await a.until(() => a.machine.running()[0]?.isHealthy ?? false);
  const pauseMs = here.clock.now() + 3_000;
  await a.until(() => here.clock.now() >= pauseMs);
  const runsOn = (runs: readonly string[]): void =>
    a.system.tell(vllmHostRef('a'), { type: 'RunsOn', runs: runs.map(runId) });
  runsOn([]);
  runsOn([RUN]);
  runsOn([]);
  await a.settle();
  expect(a.machine.running()[0]?.isReleased).toBe(false);
  runsOn([]);
  await a.until(() => a.machine.running()[0]?.isReleased === true);
  void ask<HostReply>(a, { type: 'StartReplica', runId: runId('run-2'), index: 0 });
  let report: HostReport | null = null;
  let isAsking = false;
  const look = (): void => {
    if (isAsking) return;
    isAsking = true;
    void ask<HostReport>(a, { type: 'ListReplicas' }).then((heard) => {
      isAsking = false;
      report = heard;
    });
  };
  await a.until(() => {
    if (report?.replicas[0]?.state === 'serving') return !isAsking;
    look();
    return false;
  });
  expect(a.machine.starts).toHaveLength(1);
});

test('a host that leaves takes nothing more, and stops what it has', async () => {
  const here = world();
  const a = await here.add('a', 2);
  const ref = vllmHostRef('a');
  void ask<HostReply>(a, { type: 'StartReplica', runId: RUN, index: 0 });
  await a.until(() => a.machine.running().length === 1);
  a.system.tell(ref, { type: 'Leave' });
  let reply: HostReply | null = null;
  void ask<HostReply>(a, { type: 'StartReplica', runId: RUN, index: 1 }).then((heard) => {
    reply = heard;
  });
  await a.until(() => reply !== null);
  expect(reply).toEqual({ type: 'refused', reason: 'this node is leaving' });
  let stopped = false;
  void a.system.stop().then(() => {
    stopped = true;
  });
  await a.until(() => stopped);
  expect(a.machine.running()).toEqual([]);
});

test('a run that this node cannot read is an inability of the node, a store that is away is not', async () => {
  const here = world();
  const a = await here.add('a', 1);
  let error: DlgforgeError | null = new DlgforgeError('store', 'away');
  a.system.spawn(
    'vllm-host-2',
    vllmHost({
      node: 'a',
      ...a.machine,
      gpus: async () => ({ gpus: [], trouble: null }),
      allows: () => undefined,
      orderOf: async () => await Promise.reject(error),
    }),
  );
  const start = async (): Promise<HostReport> => {
    const ref = { ...vllmHostRef('a'), path: 'vllm-host-2' };
    void a.system.ask<HostMessage, HostReply>(ref, (replyTo) => ({
      type: 'StartReplica',
      runId: RUN,
      index: 0,
      replyTo,
    }));
    await a.settle();
    let report: HostReport | null = null;
    void a.system
      .ask<HostMessage, HostReport>(ref, (replyTo) => ({ type: 'ListReplicas', replyTo }))
      .then((heard) => {
        report = heard;
      });
    await a.until(() => report !== null);
    return report as unknown as HostReport;
  };
  expect((await start()).replicas).toEqual([]);
  error = new DlgforgeError('refused', 'DLGFORGE_VLLM_COMMANDS of this node does not list it');
  expect((await start()).replicas).toMatchObject([{ state: 'unable', text: error.message }]);
});
