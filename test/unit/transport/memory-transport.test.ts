/** The faults and the time of the memory transport; what every transport promises is in its contract suite. */
import { expect, test } from 'vitest';
import type { Envelope, TransportEndpoint } from '../../../src/ports/transport.ts';
import {
  createMemoryTransport,
  type MemoryTransportOptions,
} from '../../../src/transport/memory-transport.ts';
import { SimulatedClock } from '../../support/simulated-clock.ts';
import { tell } from '../../support/envelopes.ts';

async function network(names: readonly string[], options: MemoryTransportOptions = {}) {
  const clock = new SimulatedClock();
  const transport = createMemoryTransport({ clock, ...options });
  const heard: string[] = [];
  const lost: string[] = [];
  const endpoints = new Map<string, TransportEndpoint>();
  const attach = async (name: string): Promise<void> => {
    const endpoint = await transport.attach(name, (envelope) => {
      const { from, body } = envelope as Envelope;
      heard.push(`${name} hears ${String(body)} from ${from} at ${clock.now()}`);
    });
    endpoint.onNodeLost((node) => lost.push(`${name} lost ${node} at ${clock.now()}`));
    endpoint.onBroadcast((body) => heard.push(`${name} hears all of ${String(body)} at ${clock.now()}`));
    endpoints.set(name, endpoint);
  };
  for (const name of names) await attach(name);
  const send = (from: string, to: string, body: unknown): void =>
    endpoints.get(from)?.send(to, tell(from, body));
  const rest = async (ms: number): Promise<void> => {
    await clock.settle();
    clock.advance(ms);
    await clock.settle();
  };
  return { clock, transport, heard, lost, endpoints, attach, send, rest };
}

test('what is sent in one turn travels in one batch per destination', async () => {
  const { transport, heard, send, rest } = await network(['a', 'b', 'c']);
  for (let i = 0; i < 10; i += 1) {
    send('a', 'b', i);
    send('a', 'c', i);
  }
  expect(heard).toEqual([]);
  await rest(0);
  expect(heard).toHaveLength(20);
  expect(transport.stats()).toEqual({ sent: 20, delivered: 20, dropped: 0, batches: 2 });
});

test('a partition loses what is under way, both sides hear of it, others do not, and it heals', async () => {
  const { transport, heard, lost, send, rest } = await network(['a', 'b', 'c'], {
    delayMs: { min: 5, max: 5 },
    detectLossMs: 100,
  });
  send('a', 'b', 'under way');
  await rest(1);
  send('a', 'b', 'waiting');
  transport.partition('a', 'b');
  send('b', 'a', 'cut off');
  send('c', 'a', 'through');
  await rest(99);
  expect(lost).toEqual([]);
  expect(heard).toEqual(['a hears through from c at 6']);
  await rest(1);
  expect(lost.toSorted()).toEqual(['a lost b at 101', 'b lost a at 101', 'b lost a at 101']);
  transport.heal('b', 'a');
  send('a', 'b', 'again');
  await rest(5);
  expect(heard[1]).toBe('b hears again from a at 106');
  expect(transport.stats().dropped).toBe(3);
});

test('a partition that heals before it is detected is not noticed', async () => {
  const { transport, lost, send, heard, rest } = await network(['a', 'b'], { detectLossMs: 100 });
  transport.partition('a', 'b');
  send('a', 'b', 'lost');
  await rest(50);
  transport.heal('a', 'b');
  await rest(200);
  send('a', 'b', 'kept');
  await rest(0);
  expect(lost).toEqual([]);
  expect(heard).toEqual(['b hears kept from a at 250']);
});

test('a killed node hears and says nothing, also not what was under way; its name can attach again', async () => {
  const { transport, heard, lost, attach, send, rest } = await network(['a', 'b'], {
    delayMs: { min: 5, max: 5 },
  });
  send('a', 'b', 1);
  send('b', 'a', 2);
  await rest(1);
  transport.kill('b');
  send('b', 'a', 3);
  await rest(10);
  expect(heard).toEqual([]);
  expect(lost).toEqual(['a lost b at 1']);
  await attach('b');
  send('a', 'b', 4);
  await rest(10);
  expect(heard).toEqual(['b hears 4 from a at 16']);
});

test('delays differ and the order from each sender holds; equal seeds give equal runs, others do not', async () => {
  const run = async (seed: number): Promise<string[]> => {
    const { heard, send, rest } = await network(['a', 'b', 'c'], { seed, delayMs: { min: 0, max: 4 } });
    for (let i = 0; i < 20; i += 1) {
      send('a', 'c', i);
      send('b', 'c', i);
      await rest(i % 2);
    }
    await rest(100);
    return heard;
  };
  const [first, second, third] = [await run(1), await run(1), await run(2)];
  expect(second).toEqual(first);
  expect(third).not.toEqual(first);
  for (const sender of ['a', 'b']) {
    const order = first
      .filter((line) => line.includes(`from ${sender}`))
      .map((line) => Number(line.split(' ')[2]));
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
  }
});

test('without delays, the order between senders of one turn is drawn from the seed', async () => {
  const orders = new Set<string>();
  for (let seed = 0; seed < 20; seed += 1) {
    const { heard, send, rest } = await network(['a', 'b', 'c', 'd'], { seed });
    for (const from of ['a', 'b', 'c']) send(from, 'd', 0);
    await rest(0);
    orders.add(heard.join());
  }
  expect(orders.size).toBe(6);
});

test('a link holds so much and no more', async () => {
  const { transport, heard, send, rest } = await network(['a', 'b'], { linkCapacity: 3 });
  for (let i = 0; i < 10; i += 1) send('a', 'b', i);
  await rest(0);
  expect(heard).toHaveLength(3);
  expect(transport.stats()).toMatchObject({ delivered: 3, dropped: 7 });
});

test('nothing is left when all have gone', async () => {
  const { clock, transport, endpoints, send } = await network(['a', 'b'], {
    delayMs: { min: 100, max: 100 },
    detectLossMs: 1_000,
  });
  send('a', 'b', 1);
  transport.partition('a', 'b');
  await clock.settle();
  for (const endpoint of endpoints.values()) await endpoint.detach();
  expect(clock.pending).toBe(0);
});

test('cut off from the server: silent, not connected, and nobody is told', async () => {
  const { transport, heard, lost, endpoints, send, rest } = await network(['a', 'b'], { detectLossMs: null });
  transport.cutOff('a');
  endpoints.get('a')?.broadcast(1);
  send('b', 'a', 2);
  const probes = Promise.all([endpoints.get('a')?.probe('b', 50), endpoints.get('b')?.probe('a', 50)]);
  await rest(100);
  expect(heard).toEqual([]);
  expect(lost).toEqual([]);
  expect([...endpoints.values()].map(({ isConnected }) => isConnected)).toEqual([false, true]);
  expect(await probes).toEqual(['unknown', 'unknown']);
  transport.restore('a');
  endpoints.get('a')?.broadcast(3);
  await rest(0);
  expect(heard.toSorted()).toEqual(['a hears all of 3 at 100', 'b hears all of 3 at 100']);
  expect(endpoints.get('a')?.isConnected).toBe(true);
});

test('a cut is one way; a probe needs both', async () => {
  const { transport, heard, endpoints, send, rest } = await network(['a', 'b', 'c'], { detectLossMs: null });
  transport.cut('a', 'b');
  send('a', 'b', 1);
  send('b', 'a', 2);
  endpoints.get('a')?.broadcast(3);
  const probes = Promise.all([endpoints.get('a')?.probe('b', 50), endpoints.get('b')?.probe('a', 50)]);
  await rest(50);
  expect(heard.toSorted()).toEqual([
    'a hears 2 from b at 0',
    'a hears all of 3 at 0',
    'c hears all of 3 at 0',
  ]);
  expect(await probes).toEqual(['unknown', 'unknown']);
  transport.mend('a', 'b');
  send('a', 'b', 4);
  await rest(0);
  expect(heard.at(-1)).toBe('b hears 4 from a at 50');
});

test('a frozen node neither hears nor is heard; what waited comes at the thaw, in order, up to a limit', async () => {
  const { transport, heard, endpoints, send, rest } = await network(['a', 'b'], {
    delayMs: { min: 0, max: 3 },
    linkCapacity: 5,
    detectLossMs: null,
  });
  transport.freeze('b');
  for (let i = 0; i < 8; i += 1) {
    send('a', 'b', i);
    await rest(1);
  }
  send('b', 'a', 'said while frozen');
  const probe = endpoints.get('a')?.probe('b', 20);
  await rest(100);
  expect(heard).toEqual([]);
  expect(await probe).toBe('unknown');
  expect(transport.stats()).toMatchObject({ dropped: 3 });
  transport.thaw('b');
  await rest(10);
  expect(heard.filter((line) => line.startsWith('b'))).toEqual(
    [0, 1, 2, 3, 4].map((i) => `b hears ${i} from a at 108`),
  );
  expect(heard.at(-1)).toMatch(/^a hears said while frozen/);
  const there = endpoints.get('a')?.probe('b', 20);
  await rest(20);
  expect(await there).toBe('there');
});

test('a killed node is gone for a probe, and only a verdict tells of its loss', async () => {
  const { transport, lost, endpoints, send, rest } = await network(['a', 'b'], { detectLossMs: null });
  transport.kill('b');
  send('a', 'b', 1);
  const probe = endpoints.get('a')?.probe('b', 50);
  await rest(50);
  expect([await probe, lost]).toEqual(['gone', []]);
  endpoints.get('a')?.declareLost('b');
  send('a', 'b', 2);
  send('a', 'b', 3);
  await rest(0);
  // Told, and told once more for what was sent since.
  expect(lost).toEqual(['a lost b at 50', 'a lost b at 50']);
});

test('bad weather loses, repeats and reorders batches, as the seed says', async () => {
  const run = async (seed: number): Promise<string[]> => {
    const { transport, heard, send, rest } = await network(['a', 'b'], {
      seed,
      delayMs: { min: 0, max: 30 },
      weather: { drop: 0.2, duplicate: 0.2, reorder: 0.3 },
    });
    for (let i = 0; i < 100; i += 1) {
      send('a', 'b', i);
      await rest(1);
    }
    transport.setWeather({});
    send('a', 'b', 'fair');
    await rest(100);
    return heard.map((line) => line.split(' ')[2] ?? '');
  };
  const bodies = await run(1);
  expect(await run(1)).toEqual(bodies);
  expect(await run(2)).not.toEqual(bodies);
  const once = new Set(bodies);
  expect(bodies.at(-1)).toBe('fair');
  expect(once.size).toBeLessThan(95);
  expect(bodies.length).toBeGreaterThan(once.size);
  const firsts = [...once].slice(0, -1).map(Number);
  expect(firsts).not.toEqual(firsts.toSorted((x, y) => x - y));
});

test('a probe of a node that leaves before it is answered ends', async () => {
  const { clock, endpoints } = await network(['a', 'b'], { delayMs: { min: 10, max: 10 } });
  const probe = endpoints.get('a')?.probe('b', 1_000);
  for (const endpoint of endpoints.values()) await endpoint.detach();
  expect(await probe).toBe('unknown');
  expect(clock.pending).toBe(0);
});
