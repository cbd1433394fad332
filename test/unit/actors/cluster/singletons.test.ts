/** One leads: taking over from the dead, the frozen and the leaving, and never two at once. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DlgforgeError } from '../../../../src/kernel/errors.ts';
import type { LeaseGrant } from '../../../../src/ports/store.ts';
import { type BenchNode, ClusterBench } from '../../../support/cluster-bench.ts';
import { Contest, NAME } from './contest.ts';
import { watchStore } from '../../../../src/actors/cluster/store-sight.ts';

async function contest(names: readonly string[], seed = 1) {
  const bench = new ClusterBench({ seed, delayMs: { min: 0, max: 5 } });
  const contested = new Contest(bench);
  await contested.prepare();
  const nodes = await bench.joinAll(...names);
  for (const node of nodes) contested.enter(node);
  const node = (name: string): BenchNode => bench.nodes.get(name)!;
  const close = async (): Promise<void> => {
    let stopped = false;
    void contested.stop().then(() => {
      stopped = true;
    });
    await bench.until(() => stopped);
    expect(await bench.close()).toBe(0);
  };
  const untilLed = (count: number): Promise<number> => bench.until(() => contested.led.length >= count);
  return { bench, contested, nodes, node, close, untilLed };
}

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `n${i}`);

describe('who leads', () => {
  test('one of three, as soon as they know each other; all find it, and a new node too', async () => {
    const { bench, contested, close, untilLed } = await contest(['a', 'b', 'c']);
    expect(await untilLed(1)).toBeLessThan(2_000);
    await bench.pass(10_000);
    expect(contested.led).toHaveLength(1);
    const { node, lease } = contested.led[0]!;
    await bench.join('late');
    await bench.pass(200);
    for (const { membership } of bench.nodes.values())
      expect(membership.leaderOf(NAME)).toEqual({ node, epoch: lease.epoch });
    await close();
  });

  test('twenty contenders: one lease is granted, and they do not storm the store', async () => {
    const { bench, contested, node, close, untilLed } = await contest(names(20));
    await untilLed(1);
    await bench.pass(5_000);
    expect(contested.led).toHaveLength(1);
    const before = contested.acquired;
    node(contested.led[0]!.node).kill();
    expect(await untilLed(2)).toBeLessThan(2_500);
    await bench.pass(10_000);
    expect(contested.led.map(({ lease }) => lease.epoch)).toEqual([1, 2]);
    expect(contested.acquired - before).toBeLessThan(100);
    await close();
  });

  test('it is announced when its actors are there, and not before', async () => {
    const { bench, contested, node, close } = await contest(['a', 'b']);
    const gate = Promise.withResolvers<void>();
    contested.onStart = () => gate.promise;
    await bench.until(() => contested.leaders.length === 1);
    await bench.pass(10_000);
    expect(node('a').membership.leaderOf(NAME)).toBeNull();
    expect(contested.leaders).toHaveLength(1);
    gate.resolve();
    await bench.pass(50);
    expect(node('a').membership.leaderOf(NAME)).not.toBeNull();
    await close();
  });

  test('two singletons with one lease exclude each other, on one node and on two', async () => {
    const bench = new ClusterBench();
    const contested = new Contest(bench);
    await contested.prepare();
    const [a, b] = await bench.joinAll('a', 'b');
    for (const [i, node] of [a!, a!, b!].entries()) {
      const entered = contested.enter(node, { name: `run/${i}`, leaseName: 'dataset/D' });
      contested.contenders.delete(node.name);
      contested.contenders.set(`${node.name}${i}`, entered);
    }
    await bench.pass(10_000);
    expect(contested.led).toHaveLength(1);
    contested.led[0]?.end('done');
    await bench.pass(2_000);
    expect(contested.led.map(({ stopped }) => stopped)).toEqual([true, false]);
    let stopped = false;
    void contested.stop().then(() => {
      stopped = true;
    });
    await bench.until(() => stopped);
    expect(await bench.close()).toBe(0);
  });
});

describe('taking over', () => {
  test('from a killed leader, in two seconds', async () => {
    const { contested, bench, node, close, untilLed } = await contest(['a', 'b', 'c']);
    await untilLed(1);
    await bench.pass(1_000);
    node(contested.led[0]!.node).kill();
    expect(await untilLed(2)).toBeLessThan(2_000);
    await close();
  });

  test('from a frozen leader, which stops when it thaws, and of which no write is taken', async () => {
    const { contested, bench, node, close, untilLed } = await contest(['a', 'b', 'c']);
    await untilLed(1);
    await bench.pass(1_000);
    const first = contested.led[0]!;
    node(first.node).freeze();
    expect(await untilLed(2)).toBeLessThan(6_500);
    await bench.pass(5_000);
    node(first.node).thaw();
    expect(await bench.until(() => first.stopped)).toBeLessThan(1_000);
    await bench.pass(5_000);
    expect(contested.led).toHaveLength(2);
    expect(contested.leaders).toEqual([contested.led[1]!.node]);
    expect(contested.accepted).toEqual(contested.accepted.toSorted((x, y) => x - y));
    await close();
  });

  test('from a leader that hears only the store, and from one that hears only the network', async () => {
    const { contested, bench, node, close, untilLed } = await contest(['a', 'b']);
    await untilLed(1);
    await bench.pass(1_000);
    contested.isWriting = false;
    const first = contested.led[0]!;
    bench.transport.cutOff(first.node);
    await untilLed(2);
    await bench.until(() => first.stopped, 2_500);
    bench.transport.restore(first.node);
    await bench.pass(5_000);
    const second = contested.led[1]!;
    const { membership } = node(first.node);
    // Told by the network alone: a third node that leads under a newer epoch.
    membership.announce({ leads: [{ name: NAME, epoch: 99 }] });
    expect(await bench.until(() => second.stopped)).toBeLessThan(100);
    membership.announce({ leads: [] });
    await close();
  });

  test('from one that has lost the store alone, and not when it is away for all', async () => {
    const { contested, bench, node, close, untilLed } = await contest(['a', 'b', 'c']);
    const waiting = new Set<string>();
    const ends = ['a', 'b', 'c']
      .map(node)
      .map(({ name, membership, clock }) =>
        watchStore({ membership, clock, isWaiting: () => waiting.has(name) }),
      );
    await untilLed(1);
    const first = contested.led[0]!;
    for (const name of ['a', 'b', 'c']) waiting.add(name);
    await bench.pass(60_000);
    expect([contested.led.length, first.stopped]).toEqual([1, false]);
    for (const name of ['a', 'b', 'c']) if (name !== first.node) waiting.delete(name);
    expect(await untilLed(2)).toBeLessThan(10_000);
    expect(contested.leaders).not.toContain(first.node);
    await bench.pass(20_000);
    expect(contested.led).toHaveLength(2);
    for (const end of ends) end();
    await close();
  });

  test('I2: not from one that renews, by a part of the network that does not hear it', async () => {
    const { contested, bench, node, close, untilLed } = await contest(['a', 'b']);
    await untilLed(1);
    await bench.pass(1_000);
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const)
      bench.transport.cut(from, to);
    await bench.pass(60_000);
    expect(node('a').membership.isAlive('b')).toBe(false);
    expect(contested.led).toHaveLength(1);
    await close();
  });

  test('from one that is drained, as soon as its actors have stopped', async () => {
    const { contested, bench, node, close, untilLed } = await contest(['a', 'b']);
    await untilLed(1);
    await bench.pass(1_000);
    const first = contested.led[0]!;
    void contested.contenders.get(first.node)?.stop();
    expect(await untilLed(2)).toBeLessThan(300);
    expect(first.stopped).toBe(true);
    expect(contested.led[1]?.node).not.toBe(first.node);
    await bench.pass(50);
    expect(node('a').membership.leaderOf(NAME)?.epoch).toBe(2);
    await close();
  });

  test('a grant whose answer was lost is taken again by the same node', async () => {
    const bench = new ClusterBench();
    const contested = new Contest(bench);
    await contested.prepare();
    const a = await bench.join('a');
    let lost = 0;
    const { store } = contested;
    contested.enter(a, {
      store: {
        async acquireLease(...given) {
          const result = await store.acquireLease(...given);
          lost += 1;
          if (lost === 1) throw new DlgforgeError('store', 'the connection broke');
          return result;
        },
        renewLease: (lease) => store.renewLease(lease),
        releaseLease: (lease) => store.releaseLease(lease),
      },
    });
    await bench.until(() => contested.led.length === 1, 5_000);
    expect(contested.led[0]?.lease.epoch).toBe(2);
    await contested.stop();
    await bench.close();
  });
});

describe('ends', () => {
  test('what is done is not led again by that node; the others are asked', async () => {
    const { contested, bench, close, untilLed } = await contest(['a', 'b']);
    await untilLed(1);
    contested.led[0]?.end('done');
    await untilLed(2);
    contested.led[1]?.end('done');
    await bench.pass(60_000);
    expect(contested.led.map(({ node }) => node).toSorted()).toEqual(['a', 'b']);
    expect(contested.leaders).toEqual([]);
    await close();
  });

  test('a leadership that fails is stopped and tried again, by whoever, with growing pauses', async () => {
    const { contested, bench, close } = await contest(['a', 'b']);
    const startedMs: number[] = [];
    contested.onStart = async () => {
      startedMs.push(bench.clock.now());
      throw new Error('no room');
    };
    await bench.pass(120_000);
    // Two nodes with pauses that double up to half a minute.
    expect(startedMs.length).toBeGreaterThan(8);
    expect(startedMs.length).toBeLessThan(30);
    contested.onStart = async () => undefined;
    await bench.until(() => contested.led.length === 1, 31_000);
    contested.led[0]?.end(new Error('broken'));
    await bench.until(() => contested.led.length === 2, 31_000);
    expect(contested.led[0]?.stopped).toBe(true);
    await close();
  });

  test('a store that is away ends nothing and breaks nobody', async () => {
    const { contested, bench, node, close, untilLed } = await contest(['a', 'b', 'c']);
    await untilLed(1);
    await bench.pass(1_000);
    const { store } = contested;
    const away = async (): Promise<never> => {
      throw new DlgforgeError('store', 'the database is away', { retryable: true });
    };
    const real = { acquire: store.acquireLease.bind(store), renew: store.renewLease.bind(store) };
    Object.assign(store, { acquireLease: away, renewLease: away });
    await bench.pass(60_000);
    expect(contested.led[0]?.stopped).toBe(false);
    node(contested.led[0]!.node).kill();
    await bench.pass(60_000);
    expect(contested.led).toHaveLength(1);
    Object.assign(store, { acquireLease: real.acquire, renewLease: real.renew });
    expect(await untilLed(2)).toBeLessThan(1_500);
    await close();
  });

  test('a node that is stopped while the store is away does not wait for it, and gives a late lease back', async () => {
    const bench = new ClusterBench();
    const contested = new Contest(bench);
    await contested.prepare();
    const a = await bench.join('a');
    const asked = Promise.withResolvers<void>();
    const { store } = contested;
    const contender = contested.enter(a, {
      store: {
        async acquireLease(...given) {
          await asked.promise;
          return store.acquireLease(...given);
        },
        renewLease: (lease) => store.renewLease(lease),
        releaseLease: (lease) => store.releaseLease(lease),
      },
    });
    await bench.pass(5_000);
    await contender.stop();
    asked.resolve();
    await bench.pass(10);
    expect(contested.led).toEqual([]);
    const asker = { host: 'cluster', pid: 1, processKey: 'b', command: '', sinceMs: 0 };
    expect(await store.leaseHolder(NAME, asker, 0, () => true)).toBeNull();
    expect(await bench.close()).toBe(0);
  });
});

type Fault = 'freeze' | 'cutOff' | 'oneWay' | 'storm' | 'kill' | 'drain';

test('I2: whatever fails, one at most leads under the newest epoch, and no older one changes anything', async () => {
  const faults = fc.array(
    fc.record({
      fault: fc.constantFrom<Fault>('freeze', 'cutOff', 'oneWay', 'storm', 'kill', 'drain'),
      victim: fc.nat(3),
      /** The leader of that moment instead of `victim`. */
      leader: fc.boolean(),
      lastsMs: fc.integer({ min: 200, max: 12_000 }),
      pauseMs: fc.integer({ min: 100, max: 8_000 }),
    }),
    { minLength: 1, maxLength: 6 },
  );
  await fc.assert(
    fc.asyncProperty(fc.integer(), faults, async (seed, steps) => {
      const { bench, contested, nodes, node, close } = await contest(names(4), seed);
      let newest = 0;
      const check = (): void => {
        const leads = [...contested.contenders.values()].flatMap(({ leads: lease }) => lease ?? []);
        newest = Math.max(newest, ...leads.map(({ epoch }) => epoch));
        expect(leads.filter(({ epoch }: LeaseGrant) => epoch === newest).length).toBeLessThanOrEqual(1);
      };
      const passing = async (ms: number): Promise<void> => {
        for (let left = ms; left > 0; left -= 50) {
          await bench.pass(Math.min(50, left));
          check();
        }
      };
      await passing(3_000);
      for (const { fault, victim, leader, lastsMs, pauseMs } of steps) {
        const named = leader ? (contested.leaders[0] ?? `n${victim}`) : `n${victim}`;
        if (!bench.nodes.has(named) || (fault === 'kill' && bench.nodes.size <= 2)) continue;
        const hit = node(named);
        const other = nodes.find(({ name }) => name !== named)!.name;
        switch (fault) {
          case 'freeze':
            hit.freeze();
            await passing(lastsMs);
            hit.thaw();
            break;
          case 'cutOff':
            bench.transport.cutOff(named);
            await passing(lastsMs);
            bench.transport.restore(named);
            break;
          case 'oneWay':
            bench.transport.cut(named, other);
            await passing(lastsMs);
            bench.transport.mend(named, other);
            break;
          case 'storm':
            bench.transport.setWeather({ drop: 0.4, duplicate: 0.3, reorder: 0.3 });
            await passing(lastsMs);
            bench.transport.setWeather({});
            break;
          case 'kill':
            contested.contenders.delete(named);
            hit.kill();
            break;
          case 'drain':
            await Promise.all([contested.contenders.get(named)?.stop(), passing(500)]);
            contested.enter(hit);
        }
        await passing(pauseMs);
      }
      await passing(8_000);
      // It heals: somebody leads, everybody agrees who, and its writes are taken.
      expect(contested.leaders).toHaveLength(1);
      const found = [...bench.nodes.values()].map(({ membership }) => membership.leaderOf(NAME)?.node);
      expect(new Set(found)).toEqual(new Set(contested.leaders));
      expect(contested.accepted).toEqual(contested.accepted.toSorted((x, y) => x - y));
      expect(contested.accepted.at(-1)).toBe(newest);
      await close();
    }),
    { numRuns: 40 },
  );
}, 60_000);
