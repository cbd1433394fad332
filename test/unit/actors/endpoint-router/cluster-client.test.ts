/** One router for a cluster: its limits hold while nodes and routers die, freeze, are cut off and come back. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RunRegistration } from '../../../../src/actors/endpoint-router/permits.ts';
import type { PermitWish } from '../../../../src/actors/endpoint-router/router.ts';
import { RouterBench, type RouterNode } from '../../../support/router-bench.ts';
import { never } from '../../llm/fixtures.ts';

const shared = (runId: string, maxInFlight = 5): RunRegistration => ({
  runId,
  endpoints: [{ name: 'vllm', identity: 'http://gpu/v1 m', roles: ['user'], weight: 1, maxInFlight }],
});
const wish: PermitWish = {
  role: 'user',
  conversation: 'c',
  priority: 0,
  avoid: null,
  waitMs: 600_000,
  leaseMs: 60_000,
};

async function cluster(options: { seed?: number; latencyMaxMs?: number; workers?: number } = {}) {
  const { seed = 1, latencyMaxMs = 2_000, workers = 2 } = options;
  const bench = new RouterBench({ seed, latencyMaxMs, runs: [shared('A'), shared('B', 8)] });
  const agents = [await bench.join('agent-1', 'agent'), await bench.join('agent-2', 'agent')] as const;
  const names = Array.from({ length: workers }, (_, index) => `worker-${index}`);
  const nodes: RouterNode[] = [];
  for (const name of names) nodes.push(await bench.join(name, 'worker'));
  await bench.pass(4_000);
  return { bench, agents, nodes };
}

const leaderOf = (bench: RouterBench): RouterNode => {
  const agents = [...bench.nodes.values()].filter(({ name }) => name.startsWith('agent'));
  return agents.toSorted((a, b) => (b.epoch ?? 0) - (a.epoch ?? 0))[0] as RouterNode;
};
const acquired = (node: RouterNode, runId = 'A', changes: Partial<PermitWish> = {}) => {
  const seen: { ticket: string | null; rejected: string | null } = { ticket: null, rejected: null };
  const router = node.permits(runId);
  void router.acquire({ ...wish, ...changes }, never).then((reply) => {
    if (reply.type === 'granted') seen.ticket = reply.ticket;
    else seen.rejected = reply.rejection.type;
  });
  return { seen, router };
};
const until = (bench: RouterBench, holds: () => boolean, limitMs = 30_000): Promise<void> =>
  bench.clock.runUntil(holds, { limitMs });

describe('permits over the cluster', () => {
  test('I7 two runs on two nodes share the smaller limit, and take turns', async () => {
    const { bench, nodes } = await cluster();
    for (const node of nodes) for (const runId of ['A', 'B']) bench.work(node, runId, 8);
    await bench.pass(60_000);
    expect(bench.server.mostOpen.get('vllm')).toBe(5);
    const [a = 0, b = 0] = ['A', 'B'].map((runId) => bench.server.answered.get(runId));
    expect(a + b).toBeGreaterThan(200);
    expect(Math.abs(a - b)).toBeLessThanOrEqual(5);
    await bench.close();
  });

  test('I7 a node that is gone, nobody knows how, has its permits until its requests have ended', async () => {
    const { bench, nodes } = await cluster();
    const held = Array.from({ length: 5 }, () => acquired(nodes[0] as RouterNode));
    await until(bench, () => held.every(({ seen }) => seen.ticket !== null));
    const next = acquired(nodes[1] as RouterNode);
    await bench.pass(10_000);
    expect(next.seen.ticket).toBeNull();
    bench.kill(nodes[0] as RouterNode);
    // It is lost after a second and a half.
    await bench.pass(4_000);
    expect(next.seen.ticket).toBeNull();
    await until(bench, () => next.seen.ticket !== null, 1_500);
    await bench.close();
  });

  test('a node that has ended for good gives its permits back at once', async () => {
    const { bench, nodes } = await cluster();
    const [first, second] = nodes as [RouterNode, RouterNode];
    const held = Array.from({ length: 5 }, () => acquired(first));
    await until(bench, () => held.every(({ seen }) => seen.ticket !== null));
    const next = acquired(second);
    await bench.pass(1_000);
    first.membership.leave();
    await until(bench, () => next.seen.ticket !== null, 200);
    await bench.close();
  });

  test('I7 a node that hears that it was taken for lost ends its requests', async () => {
    const { bench, nodes } = await cluster({ latencyMaxMs: 60_000 });
    const [first] = nodes as [RouterNode];
    bench.work(first, 'A', 5);
    await bench.pass(1_000);
    bench.transport.cut(first.name, leaderOf(bench).name);
    await bench.pass(8_000);
    expect(bench.server.cancelled).toBe(0);
    bench.transport.mend(first.name, leaderOf(bench).name);
    await bench.pass(2_000);
    expect(bench.server.cancelled).toBeGreaterThanOrEqual(4);
    await bench.close();
  });

  test('a release that is lost is repeated', async () => {
    const { bench, nodes } = await cluster();
    const [first, second] = nodes as [RouterNode, RouterNode];
    const held = Array.from({ length: 5 }, () => acquired(first));
    await until(bench, () => held.every(({ seen }) => seen.ticket !== null));
    const next = acquired(second);
    await bench.pass(100);
    bench.transport.cut(first.name, leaderOf(bench).name);
    held[0]?.router.release(held[0].seen.ticket as string, { type: 'answered' });
    await bench.pass(1_000);
    expect(next.seen.ticket).toBeNull();
    bench.transport.mend(first.name, leaderOf(bench).name);
    await until(bench, () => next.seen.ticket !== null, 3_000);
    await bench.close();
  });

  test('a run that is not registered yet waits for it; one that nobody can serve hears so', async () => {
    const { bench, nodes } = await cluster();
    const early = acquired(nodes[0] as RouterNode, 'C', { waitMs: 2_000 });
    const nobody = acquired(nodes[0] as RouterNode, 'A', { role: 'judge' });
    await until(bench, () => nobody.seen.rejected === 'no_endpoint', 1_000);
    expect(early.seen.rejected).toBeNull();
    await until(bench, () => early.seen.rejected === 'deadline', 3_000);
    await bench.close();
  });

  test('a wish that is cancelled, or granted too late, leaves nothing behind', async () => {
    const { bench, nodes } = await cluster();
    const [first, second] = nodes as [RouterNode, RouterNode];
    const held = Array.from({ length: 5 }, () => acquired(first));
    await until(bench, () => held.every(({ seen }) => seen.ticket !== null));
    const abort = new AbortController();
    const waiting = second.permits('A').acquire(wish, abort.signal);
    const cancelled = expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    await bench.pass(100);
    // Granted and cancelled at the same moment.
    held[0]?.router.release(held[0].seen.ticket as string, { type: 'answered' });
    abort.abort();
    await cancelled;
    const next = acquired(first);
    await until(bench, () => next.seen.ticket !== null, 3_000);
    await bench.close();
  });
});

describe('a router that moves', () => {
  test('I7 counts what its predecessor has granted before it grants anything', async () => {
    const { bench, nodes } = await cluster();
    const [first, second] = nodes as [RouterNode, RouterNode];
    const held = Array.from({ length: 4 }, () => acquired(first));
    await until(bench, () => held.every(({ seen }) => seen.ticket !== null));
    bench.kill(leaderOf(bench));
    const more = [acquired(second), acquired(second)];
    await until(bench, () => more.some(({ seen }) => seen.ticket !== null), 10_000);
    await bench.pass(3_000);
    expect(more.filter(({ seen }) => seen.ticket !== null)).toHaveLength(1);
    expect((await stats(bench, second))[0]).toMatchObject({ inFlight: 5, waiting: 1, runs: 2, limit: 5 });
    // An adopted permit comes back like any other.
    held[0]?.router.release(held[0].seen.ticket as string, { type: 'answered' });
    await until(bench, () => more.every(({ seen }) => seen.ticket !== null), 3_000);
    await bench.close();
  });

  test('adopted permits end with their holder', async () => {
    const { bench, nodes } = await cluster();
    const [first, second] = nodes as [RouterNode, RouterNode];
    const held = Array.from({ length: 5 }, () => acquired(first));
    await until(bench, () => held.every(({ seen }) => seen.ticket !== null));
    bench.kill(leaderOf(bench));
    await bench.pass(8_000);
    const next = acquired(second);
    await bench.pass(1_000);
    expect(next.seen.ticket).toBeNull();
    bench.kill(first);
    await until(bench, () => next.seen.ticket !== null, 6_000);
    await bench.close();
  });

  test('waits for a node that is silent, until it is lost', async () => {
    const { bench, nodes } = await cluster();
    const [first, second] = nodes as [RouterNode, RouterNode];
    bench.kill(leaderOf(bench));
    bench.freeze(first);
    const next = acquired(second);
    await bench.pass(4_500);
    expect(next.seen.ticket).toBeNull();
    await until(bench, () => next.seen.ticket !== null, 10_000);
    await bench.close();
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'I7 one that stood still, and that nobody replaced, hears anew what is out (%i)',
    async (seed) => {
      const { bench, agents, nodes } = await cluster({ seed });
      const [first, second] = nodes as [RouterNode, RouterNode];
      const held = Array.from({ length: 5 }, () => acquired(first));
      await until(bench, () => held.every(({ seen }) => seen.ticket !== null));
      const { epoch } = leaderOf(bench);
      for (const agent of agents) bench.freeze(agent);
      const next = acquired(second);
      await bench.pass(7_000 + 230 * seed);
      for (const agent of agents) bench.thaw(agent);
      await bench.pass(5_000);
      expect(leaderOf(bench).epoch).toBe(epoch);
      expect(next.seen.ticket).toBeNull();
      expect((await stats(bench, second))[0]).toMatchObject({ inFlight: 5 });
      held[0]?.router.release(held[0].seen.ticket as string, { type: 'answered' });
      await until(bench, () => next.seen.ticket !== null, 3_000);
      await bench.close();
    },
  );

  test('a router that was replaced while it stood still grants nothing that is used', async () => {
    const { bench, agents, nodes } = await cluster({ workers: 3 });
    const old = leaderOf(bench);
    bench.freeze(old);
    await bench.pass(9_000);
    expect(leaderOf(bench)).not.toBe(old);
    const held = Array.from({ length: 5 }, () => acquired(nodes[0] as RouterNode));
    await until(bench, () => held.every(({ seen }) => seen.ticket !== null));
    bench.thaw(old);
    for (const node of nodes) for (const runId of ['A', 'B']) bench.work(node, runId, 4);
    await bench.pass(10_000);
    expect(bench.server.mostOpen.get('vllm') ?? 0).toBe(0);
    expect(agents.filter(({ epoch }) => epoch !== null)).toHaveLength(1);
    await bench.close();
  });
});

describe('without contact', () => {
  test('a permit is not used but handed back, and asked for again', async () => {
    const { bench, nodes } = await cluster();
    const [first] = nodes as [RouterNode];
    const held = acquired(first);
    await until(bench, () => held.seen.ticket !== null);
    bench.transport.cutOff(first.name);
    expect(held.router.use(held.seen.ticket as string, never)).toBeNull();
    bench.transport.restore(first.name);
    await bench.pass(1_000);
    expect(held.router.use(held.seen.ticket as string, never)).not.toBeNull();
    await bench.close();
  });

  test('I7 requests under way end before the others take the permits, and are sent again later', async () => {
    const { bench, nodes } = await cluster({ latencyMaxMs: 60_000 });
    const [first, second] = nodes as [RouterNode, RouterNode];
    bench.work(first, 'A', 5);
    await bench.pass(1_000);
    expect(bench.server.open.get('vllm')).toBe(5);
    bench.work(second, 'B', 5);
    bench.transport.cutOff(first.name);
    await bench.pass(12_000);
    expect(bench.server.open.get('vllm')).toBe(5);
    bench.transport.restore(first.name);
    await bench.pass(120_000);
    expect(bench.server.answered.get('A')).toBeGreaterThan(0);
    expect(bench.server.mostOpen.get('vllm')).toBe(5);
    expect(bench.failures).toEqual([]);
    await bench.close();
  });

  test('the patience with the endpoints stands still, and is not endless', async () => {
    const { bench, nodes } = await cluster();
    const [first] = nodes as [RouterNode];
    bench.transport.cutOff(first.name);
    bench.work(first, 'A', 5, 30_000);
    await bench.pass(900_000);
    expect(bench.failures).toEqual([]);
    bench.transport.restore(first.name);
    await bench.pass(20_000);
    expect(bench.server.answered.get('A')).toBeGreaterThan(0);
    bench.transport.cutOff(first.name);
    await bench.pass(1_900_000);
    expect(bench.failures[0]).toMatchObject({
      code: 'endpoint',
      message: expect.stringContaining('the endpoint router does not answer') as string,
    });
    await bench.close();
  });

  test('a short cut ends nothing', async () => {
    const { bench, nodes } = await cluster({ latencyMaxMs: 20_000 });
    bench.work(nodes[0] as RouterNode, 'A', 5);
    await bench.pass(1_000);
    const before = bench.server.requests;
    bench.transport.cutOff((nodes[0] as RouterNode).name);
    await bench.pass(1_500);
    bench.transport.restore((nodes[0] as RouterNode).name);
    await bench.pass(1_000);
    expect(bench.server.cancelled).toBe(0);
    expect(bench.server.requests).toBeGreaterThanOrEqual(before);
    await bench.close();
  });

  test('the router grants nothing', async () => {
    const { bench, agents, nodes } = await cluster();
    for (const agent of agents) bench.transport.cutOff(agent.name);
    const next = acquired(nodes[0] as RouterNode);
    await bench.pass(15_000);
    expect(next.seen.ticket).toBeNull();
    for (const agent of agents) bench.transport.restore(agent.name);
    await until(bench, () => next.seen.ticket !== null, 10_000);
    await bench.close();
  });
});

async function stats(bench: RouterBench, node: RouterNode) {
  const read = node.permits('A').stats();
  await bench.pass(100);
  return read;
}

type Fault =
  | { readonly type: 'kill' | 'freeze' | 'cutOff'; readonly worker: number; readonly ms: number }
  | { readonly type: 'killRouter' | 'freezeRouter' | 'cutOffRouter'; readonly ms: number }
  | { readonly type: 'weather'; readonly ms: number };

const ms = fc.integer({ min: 200, max: 12_000 });
const faults: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({
    type: fc.constantFrom('kill' as const, 'freeze' as const, 'cutOff' as const),
    worker: fc.nat(),
    ms,
  }),
  fc.record({
    type: fc.constantFrom('killRouter' as const, 'freezeRouter' as const, 'cutOffRouter' as const),
    ms,
  }),
  fc.record({ type: fc.constant('weather' as const), ms }),
);

test('I7 whatever happens to nodes, routers and messages: never a sixth request, and work goes on', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ seed: fc.nat(1_000_000), script: fc.array(faults, { minLength: 2, maxLength: 5 }) }),
      async ({ seed, script }) => {
        // Requests that a frozen process has open are seen by nobody: they end before its permits do.
        const { bench } = await cluster({ seed, workers: 3, latencyMaxMs: 3_000 });
        let joined = 0;
        const workers = (): RouterNode[] =>
          [...bench.nodes.values()].filter(({ name }) => name.startsWith('worker'));
        for (const node of workers()) for (const runId of ['A', 'B']) bench.work(node, runId, 4);
        for (const fault of script) {
          await inject(bench, fault, workers());
          for (const [prefix, kind, count] of [
            ['worker', 'worker', 3],
            ['agent', 'agent', 2],
          ] as const) {
            const there = [...bench.nodes.values()].filter(({ name }) => name.startsWith(prefix)).length;
            for (let missing = there; missing < count; missing += 1) {
              joined += 1;
              const node = await bench.join(`${prefix}-new-${joined}`, kind);
              if (kind === 'worker') for (const runId of ['A', 'B']) bench.work(node, runId, 4);
            }
          }
        }
        await bench.pass(12_000);
        const before = new Map(bench.server.answered);
        await bench.pass(8_000);
        expect(bench.server.mostOpen.get('vllm')).toBe(5);
        for (const runId of ['A', 'B'])
          expect(bench.server.answered.get(runId) ?? 0).toBeGreaterThan(before.get(runId) ?? 0);
        expect(bench.failures).toEqual([]);
        await bench.close();
      },
    ),
    { numRuns: Number(process.env['ROUTER_RUNS'] ?? 10), endOnFailure: true },
  );
}, 120_000);

async function inject(bench: RouterBench, fault: Fault, workers: readonly RouterNode[]): Promise<void> {
  const node = 'worker' in fault ? (workers[fault.worker % workers.length] as RouterNode) : leaderOf(bench);
  switch (fault.type) {
    case 'kill':
    case 'killRouter':
      bench.kill(node);
      return await bench.pass(fault.ms);
    case 'freeze':
    case 'freezeRouter':
      bench.freeze(node);
      await bench.pass(fault.ms);
      return bench.thaw(node);
    case 'cutOff':
    case 'cutOffRouter':
      bench.transport.cutOff(node.name);
      await bench.pass(fault.ms);
      return bench.transport.restore(node.name);
    case 'weather':
      bench.transport.setWeather({ drop: 0.1, duplicate: 0.2, reorder: 0.2 });
      await bench.pass(fault.ms);
      return bench.transport.setWeather({});
  }
}
