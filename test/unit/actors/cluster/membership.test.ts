/** Who is in the cluster: joining, leaving, dying, freezing, being cut off, and versions that do not fit. */
import { describe, expect, test } from 'vitest';
import { BROADCAST_CHARS_MAX } from '../../../../src/actors/cluster/cards.ts';
import { cardOf, ClusterBench, namesOf } from '../../../support/cluster-bench.ts';

/** A heartbeat as it travels. */
const heartbeat = (node: string, seq: number, card: Readonly<Record<string, unknown>> = {}) => ({
  type: 'heartbeat',
  seq,
  settled: true,
  returned: [],
  card: { ...cardOf(node), ...card },
});

async function warmBench(...names: readonly string[]) {
  const bench = new ClusterBench({ seed: 1 });
  const nodes = await bench.joinAll(...names);
  await bench.pass(3_000);
  return { bench, nodes };
}

describe('joining and leaving', () => {
  test('a node that joins knows the others, and they it, before the next heartbeat', async () => {
    const { bench } = await warmBench('a', 'b');
    const c = await bench.join('c');
    let ready = false;
    void c.membership.ready().then(() => {
      ready = true;
    });
    expect(await bench.until(() => ready)).toBeLessThan(300);
    for (const { membership } of bench.nodes.values()) expect(namesOf(membership)).toEqual(['a', 'b', 'c']);
    expect(await bench.close()).toBe(0);
  });

  test('a node alone is in contact at once and warm after a second and a half', async () => {
    const bench = new ClusterBench();
    const a = await bench.join('a');
    expect([a.membership.inContact(), a.membership.isWarm()]).toEqual([false, false]);
    await bench.pass(10);
    expect([a.membership.inContact(), a.membership.isWarm()]).toEqual([true, false]);
    expect(await bench.until(() => a.membership.isWarm())).toBeLessThanOrEqual(1_500);
    expect(await bench.close()).toBe(0);
  });

  test('without a network nobody is ready, and it is said why', async () => {
    const bench = new ClusterBench();
    bench.transport.cutOff('a');
    const a = await bench.join('a');
    const rejected = expect(a.membership.ready(2_000)).rejects.toMatchObject({
      code: 'transport',
      retryable: true,
    });
    await bench.pass(2_000);
    await rejected;
    await bench.close();
  });

  test('a node that leaves is gone at once, and a late heartbeat does not bring it back', async () => {
    const { bench, nodes } = await warmBench('a', 'b', 'c');
    const [a, b, c] = nodes;
    b?.membership.leave();
    await bench.pass(0);
    expect(a?.changes.at(-1)).toBe('left b');
    expect(a?.lost).toEqual(['b']);
    expect(b?.membership.isAlive('b')).toBe(false);
    c?.endpoint.broadcast(heartbeat('b', 1_000_001, { startedAtMs: 1_000_000 }));
    await bench.pass(3_000);
    expect(a?.membership.isAlive('b')).toBe(false);
    await bench.close();
  });

  test('another process under the same name is another node', async () => {
    const { bench, nodes } = await warmBench('a', 'b');
    bench.nodes.get('b')?.kill();
    await bench.join('b');
    await bench.pass(100);
    expect(nodes[0]?.changes).toEqual(['joined b', 'lost b', 'joined b']);
    await bench.close();
  });

  test('what a node says of itself reaches the others at once', async () => {
    const { bench, nodes } = await warmBench('a', 'b');
    const [a, b] = nodes;
    a?.membership.announce({ leads: [{ name: 'router', epoch: 3 }], status: { load: 2 } });
    await bench.pass(0);
    expect(b?.membership.leaderOf('router')).toEqual({ node: 'a', epoch: 3 });
    expect(a?.membership.leaderOf('router')).toEqual({ node: 'a', epoch: 3 });
    expect([a?.changes.at(-1), b?.changes.at(-1)]).toEqual(['leads a', 'leads a']);
    b?.membership.announce({ leads: [{ name: 'router', epoch: 4 }] });
    await bench.pass(0);
    expect(a?.membership.leaderOf('router')).toEqual({ node: 'b', epoch: 4 });
    expect(a?.membership.members().find(({ card }) => card.node === 'a')?.card.status).toEqual({ load: 2 });
    expect(a?.membership.leaderOf('none')).toBeNull();
    await bench.close();
  });
});

describe('dying', () => {
  test('a killed node is lost as soon as it is asked for, and its leadership with it', async () => {
    const { bench, nodes } = await warmBench('a', 'b', 'c');
    const [a, b, c] = nodes;
    b?.membership.announce({ leads: [{ name: 'router', epoch: 1 }] });
    await bench.pass(100);
    b?.kill();
    const tookMs = await bench.until(
      () => a?.membership.isAlive('b') === false && c?.membership.isAlive('b') === false,
    );
    expect(tookMs).toBeGreaterThan(1_000);
    expect(tookMs).toBeLessThan(1_800);
    expect(a?.lost).toEqual(['b']);
    expect(a?.membership.leaderOf('router')).toBeNull();
    await bench.close();
  });

  test('who started a node tells of its end, and nobody else can', async () => {
    const { bench, nodes } = await warmBench('a', 'b');
    const [a, b] = nodes;
    await bench.join('a.w1', { kind: 'worker', parent: 'a' });
    await bench.pass(100);
    b?.membership.declareLost('a.w1');
    await bench.pass(0);
    expect([a?.membership.isAlive('a.w1'), b?.membership.isAlive('a.w1')]).toEqual([true, false]);
    const worker = bench.nodes.get('a.w1');
    expect(worker?.membership.isAlive('a.w1')).toBe(true);
    worker?.kill();
    a?.membership.declareLost('a.w1');
    await bench.pass(0);
    expect(a?.membership.isAlive('a.w1')).toBe(false);
    expect(b?.lost).toContain('a.w1');
    await bench.close();
  });

  test('a node that hears nobody takes nobody for dead', async () => {
    const { bench, nodes } = await warmBench('a', 'b', 'c');
    const [a, b, c] = nodes;
    bench.transport.cutOff('a');
    expect(await bench.until(() => a?.membership.inContact() === false)).toBe(0);
    expect(
      await bench.until(() => b?.membership.isAlive('a') === false && c?.membership.isAlive('a') === false),
    ).toBeLessThan(6_000);
    await bench.pass(60_000);
    expect(namesOf(a!.membership)).toEqual(['a', 'b', 'c']);
    expect(a?.lost).toEqual([]);
    c?.kill();
    await bench.pass(5_000);
    bench.transport.restore('a');
    // It is heard, and hears, at once; whoever died meanwhile is found out when it is warm again.
    await bench.until(() => b?.membership.isAlive('a') === true, 600);
    expect(a?.membership.isWarm()).toBe(false);
    expect(await bench.until(() => a?.membership.isAlive('c') === false)).toBeLessThan(3_000);
    expect(a?.membership.isAlive('b')).toBe(true);
    await bench.close();
  });
});

describe('an outage of the whole network', () => {
  test("is nobody's silence: it counts from when others can be heard again", async () => {
    const { bench, nodes } = await warmBench('a', 'b', 'c');
    for (const { name } of nodes) bench.transport.cutOff(name);
    await bench.pass(60_000);
    bench.transport.restore('a');
    bench.transport.restore('b');
    await bench.pass(4_000);
    bench.transport.restore('c');
    await bench.pass(5_000);
    for (const { membership, changes } of nodes) {
      expect(namesOf(membership)).toEqual(['a', 'b', 'c']);
      expect(changes.filter((change) => change.startsWith('lost'))).toEqual([]);
      expect(membership.isWarm()).toBe(true);
    }
    await bench.close();
  });

  test('a node that does not hear itself any more is out of contact in two seconds', async () => {
    const { bench, nodes } = await warmBench('a', 'b');
    const [a] = nodes;
    bench.transport.cut('a', 'a');
    const tookMs = await bench.until(() => a?.membership.inContact() === false, 2_500);
    expect(tookMs).toBeGreaterThan(1_000);
    bench.transport.mend('a', 'a');
    await bench.until(() => a?.membership.isWarm() === true, 2_500);
    await bench.close();
  });
});

describe('freezing', () => {
  test('a frozen node is lost within the time, has no contact when it thaws, and joins again', async () => {
    const { bench, nodes } = await warmBench('a', 'b');
    const [a, b] = nodes;
    b?.freeze();
    const tookMs = await bench.until(() => a?.membership.isAlive('b') === false);
    expect(tookMs).toBeGreaterThan(4_500);
    expect(tookMs).toBeLessThan(6_000);
    await bench.pass(30_000);
    const thaw: boolean[] = [];
    b?.thaw();
    thaw.push(b!.membership.inContact());
    await bench.until(() => b?.membership.inContact() === true, 1_000);
    expect(thaw).toEqual([false]);
    expect(b?.membership.isWarm()).toBe(false);
    await bench.until(() => a?.membership.isAlive('b') === true, 1_000);
    await bench.pass(5_000);
    expect(namesOf(b!.membership)).toEqual(['a', 'b']);
    expect(b?.changes).toEqual(['joined a']);
    await bench.close();
  });

  test('own heartbeats that waited while it was frozen do not put a node in contact', async () => {
    const { bench, nodes } = await warmBench('a');
    const [a] = nodes;
    // It stands still between sending a heartbeat and reading it, for less than a heartbeat is good for.
    bench.transport.freeze('a');
    await bench.pass(600);
    a?.clock.freeze();
    await bench.pass(1_600);
    bench.transport.thaw('a');
    await bench.clock.settle();
    expect(a?.membership.inContact()).toBe(false);
    a?.clock.thaw();
    await bench.until(() => a?.membership.inContact() === true, 1_000);
    expect(a?.membership.isWarm()).toBe(false);
    await bench.close();
  });

  test('a node that was lost and returns hears of it, so that both ends have forgotten the same', async () => {
    const { bench, nodes } = await warmBench('a', 'b', 'c');
    const [a, b, c] = nodes;
    b?.freeze();
    await bench.pass(10_000);
    b?.thaw();
    await bench.pass(6_000);
    expect(b?.lost.toSorted()).toEqual(['a', 'c']);
    expect([a?.lost, c?.lost]).toEqual([['b'], ['b']]);
    expect(namesOf(b!.membership)).toEqual(['a', 'b', 'c']);
    await bench.close();
  });
});

describe('links that fail', () => {
  test('one way only: who is not heard is lost to those who do not hear it, and comes back', async () => {
    const { bench, nodes } = await warmBench('a', 'b', 'c');
    const [a, b, c] = nodes;
    bench.transport.cut('a', 'b');
    await bench.until(() => b?.membership.isAlive('a') === false, 6_500);
    expect(a?.membership.isAlive('b')).toBe(true);
    expect(c?.membership.isAlive('a')).toBe(true);
    bench.transport.mend('a', 'b');
    await bench.until(() => b?.membership.isAlive('a') === true, 600);
    await bench.close();
  });

  test('a node that flaps is in whenever it is heard, and never warm while it flaps', async () => {
    const { bench, nodes } = await warmBench('a', 'b');
    const [a, b] = nodes;
    let warm = 0;
    for (let i = 0; i < 10; i += 1) {
      bench.transport.cutOff('b');
      await bench.pass(700);
      bench.transport.restore('b');
      await bench.pass(700);
      if (b?.membership.isWarm()) warm += 1;
    }
    expect(warm).toBe(0);
    expect(a?.membership.isAlive('b')).toBe(true);
    expect(a?.lost).toEqual([]);
    await bench.pass(3_000);
    expect(b?.membership.isWarm()).toBe(true);
    await bench.close();
  });

  test('loss, repetition and reordering of heartbeats cost nobody its place', async () => {
    const bench = new ClusterBench({
      seed: 5,
      delayMs: { min: 0, max: 40 },
      weather: { drop: 0.1, duplicate: 0.2, reorder: 0.2 },
    });
    const nodes = await bench.joinAll('a', 'b', 'c', 'd');
    await bench.pass(60_000);
    for (const { membership, lost } of nodes) {
      expect(namesOf(membership)).toEqual(['a', 'b', 'c', 'd']);
      expect(lost).toEqual([]);
    }
    await bench.close();
  });
});

describe('at the door', () => {
  test('one protocol step apart works', async () => {
    const { bench, nodes } = await warmBench('a');
    const next = await bench.join('next', { protocol: 2, build: '1.1.0' });
    await bench.pass(100);
    expect(namesOf(nodes[0]!.membership)).toEqual(['a', 'next']);
    expect(namesOf(next.membership)).toEqual(['a', 'next']);
    expect(next.refused).toEqual([]);
    await bench.close();
  });

  test('two steps apart: both sides name both versions, and only the one that joins must not start', async () => {
    const { bench, nodes } = await warmBench('a');
    const [a] = nodes;
    const far = await bench.join('far', { protocol: 3, build: '3.0.0' });
    const rejected = expect(far.membership.ready()).rejects.toMatchObject({ code: 'refused' });
    await bench.pass(2_000);
    await rejected;
    const named = ['protocol 3 (build 3.0.0)', 'protocol 1 (build 1.0.0)'];
    for (const part of named) {
      expect(far.refused[0]?.message).toContain(part);
      expect(a?.log.filter((line) => line.includes(part))).toHaveLength(1);
    }
    expect(far.refused).toHaveLength(1);
    expect(a?.refused).toEqual([]);
    expect(namesOf(a!.membership)).toEqual(['a']);
    expect(namesOf(far.membership)).toEqual(['far']);
    expect(a?.membership.refusedBySender.get('far')).toBeGreaterThan(1);
    await bench.close();
  });

  test('of two that start at the same moment exactly one must not', async () => {
    const bench = new ClusterBench();
    const one = await bench.join('one');
    const other = await bench.join('other', { protocol: 9 });
    await bench.pass(3_000);
    expect([one.refused.length, other.refused.length]).toEqual([0, 1]);
    await bench.close();
  });

  test('malformed and oversized broadcasts are counted and dropped, with their sender named once', async () => {
    const { bench, nodes } = await warmBench('a', 'b');
    const [a, b] = nodes;
    const say = (body: unknown): void => b?.endpoint.broadcast(body);
    say(null);
    say('nonsense');
    say({ type: 'heartbeat' });
    for (let i = 0; i < 3; i += 1) say(heartbeat('bad', i, { kind: 'emperor' }));
    say(heartbeat('large', 1, { status: { text: 'x'.repeat(BROADCAST_CHARS_MAX) } }));
    say({ type: 'lost', node: 'a', by: 7 });
    await bench.pass(100);
    expect([...a!.membership.refusedBySender]).toEqual([
      ['unknown', 3],
      ['bad', 3],
      ['large', 1],
      ['a', 1],
    ]);
    expect(a?.log.filter((line) => line.includes('of node bad'))).toHaveLength(1);
    expect(namesOf(a!.membership)).toEqual(['a', 'b']);
    await bench.close();
  });

  test('a card that has grown too large travels without its status', async () => {
    const { bench, nodes } = await warmBench('a', 'b');
    const [a, b] = nodes;
    a?.membership.announce({ status: { text: 'x'.repeat(BROADCAST_CHARS_MAX) }, labels: { zone: 'z' } });
    await bench.pass(100);
    const seen = b?.membership.members().find(({ card }) => card.node === 'a')?.card;
    expect([seen?.status, seen?.labels]).toEqual([{}, { zone: 'z' }]);
    await bench.close();
  });

  test('I9: there are only so many members', async () => {
    const bench = new ClusterBench();
    const a = await bench.join('a', {}, 3);
    const crowd = await bench.join('crowd');
    for (let i = 0; i < 5; i += 1) crowd.endpoint.broadcast(heartbeat(`n${i}`, 1));
    await bench.pass(10);
    expect(a.membership.members()).toHaveLength(4);
    expect(a.membership.refusedBySender.size).toBe(3);
    await bench.close();
  });
});
