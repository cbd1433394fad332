/** What every transport adapter promises; each adapter's test file runs it with its own harness. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InvariantError } from '../../../src/kernel/errors.ts';
import type { Envelope, Transport, TransportEndpoint } from '../../../src/ports/transport.ts';
import { tell } from '../../support/envelopes.ts';

export interface TransportHarness {
  /** A transport as a process of its own would open it; may be the same one each time. */
  open(): Promise<Transport>;
  /** The node's process dies without a word. */
  kill(node: string): Promise<void>;
  close(): Promise<void>;
}

interface Node {
  readonly endpoint: TransportEndpoint;
  readonly received: Envelope[];
  readonly lost: string[];
}

export function transportContract(name: string, start: () => Promise<TransportHarness>): void {
  describe(`transport contract: ${name}`, () => {
    let harness: TransportHarness;
    let attached: TransportEndpoint[] = [];

    beforeEach(async () => {
      harness = await start();
    });

    afterEach(async () => {
      for (const endpoint of attached) await endpoint.detach();
      attached = [];
      await harness.close();
    });

    const attach = async (node: string): Promise<Node> => {
      const transport = await harness.open();
      const received: Envelope[] = [];
      const lost: string[] = [];
      const endpoint = await transport.attach(node, (envelope) => void received.push(envelope as Envelope));
      endpoint.onNodeLost((gone) => void lost.push(gone));
      attached.push(endpoint);
      return { endpoint, received, lost };
    };

    test('delivers envelopes whole, to the node that they are for', async () => {
      const [a, b, c] = [await attach('a'), await attach('b'), await attach('c')];
      const whole: Envelope = {
        version: 1,
        from: 'a',
        kind: 'ask',
        path: 'worker/é"\n',
        incarnation: 2 ** 52,
        correlation: 'x.1',
        timeoutMs: 30_000,
        body: { text: 'Ünïcode \u0000 漢字', list: [1, 2.5, null, true], nested: { deep: [[]] } },
      };
      a.endpoint.send('b', whole);
      await expect.poll(() => b.received).toEqual([whole]);
      expect(c.received).toEqual([]);
      b.endpoint.send('a', { version: 1, from: 'b', kind: 'reply', correlation: 'x.1', body: undefined });
      await expect.poll(() => a.received.length).toBe(1);
      expect(a.received[0]?.body).toBeUndefined();
    });

    test('a node can send to itself', async () => {
      const a = await attach('a');
      a.endpoint.send('a', tell('a', 1));
      await expect.poll(() => bodies(a)).toEqual([1]);
    });

    test('keeps the order from each sender to each destination', async () => {
      const [a, b, c] = [await attach('a'), await attach('b'), await attach('c')];
      const count = 5_000;
      for (let i = 0; i < count; i += 1) {
        a.endpoint.send('c', tell('a', i));
        b.endpoint.send('c', tell('b', i));
        if (i % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await expect.poll(() => c.received.length, { timeout: 10_000 }).toBe(2 * count);
      const inOrder = Array.from({ length: count }, (_, i) => i);
      for (const sender of ['a', 'b']) {
        expect(c.received.filter(({ from }) => from === sender).map(({ body }) => body)).toEqual(inOrder);
      }
    });

    test('carries large bodies', async () => {
      const [a, b] = [await attach('a'), await attach('b')];
      const large = 'x'.repeat(500_000);
      for (let i = 0; i < 4; i += 1) a.endpoint.send('b', tell('a', large));
      await expect.poll(() => b.received.length, { timeout: 10_000 }).toBe(4);
      expect(b.received.every(({ body }) => body === large)).toBe(true);
    });

    test('what travels is what was sent, not what became of it', async () => {
      const [a, b] = [await attach('a'), await attach('b')];
      const body = { list: [1] };
      a.endpoint.send('b', tell('a', body));
      body.list.push(2);
      await expect.poll(() => bodies(b)).toEqual([{ list: [1] }]);
    });

    test('a body that cannot be encoded is our own mistake, and hurts no other', async () => {
      const [a, b] = [await attach('a'), await attach('b')];
      const inItself: { self?: unknown } = {};
      inItself.self = inItself;
      a.endpoint.send('b', tell('a', 'before'));
      expect(() => a.endpoint.send('b', tell('a', inItself))).toThrow(InvariantError);
      expect(() => a.endpoint.send('b', tell('a', { size: 1n }))).toThrow(InvariantError);
      a.endpoint.send('b', tell('a', 'after'));
      await expect.poll(() => bodies(b)).toEqual(['before', 'after']);
    });

    test('a name is attached once, and free again after it has left', async () => {
      const a = await attach('a');
      await expect(attach('a')).rejects.toMatchObject({ code: 'held' });
      await a.endpoint.detach();
      await a.endpoint.detach();
      const [again, b] = [await attach('a'), await attach('b')];
      b.endpoint.send('a', tell('b', 'hello'));
      await expect.poll(() => bodies(again)).toEqual(['hello']);
      expect(a.received).toEqual([]);
    });

    test('a node that leaves has sent what it said, sends nothing more, and the others hear of it', async () => {
      const [a, b] = [await attach('a'), await attach('b')];
      for (let i = 0; i < 100; i += 1) a.endpoint.send('b', tell('a', i));
      await a.endpoint.detach();
      a.endpoint.send('b', tell('a', 'too late'));
      await expect.poll(() => b.received.length).toBe(100);
      await expect.poll(() => b.lost, { timeout: 10_000 }).toContain('a');
      expect(bodies(b)).not.toContain('too late');
      expect(a.lost).toEqual([]);
    });

    test('the others hear of a node that dies', async () => {
      const [a, b, c] = [await attach('a'), await attach('b'), await attach('c')];
      await harness.kill('b');
      await expect
        .poll(() => [a.lost.includes('b'), c.lost.includes('b')], { timeout: 10_000 })
        .toEqual([true, true]);
      b.endpoint.send('a', tell('b', 'from the dead'));
      c.endpoint.send('a', tell('c', 'from the living'));
      await expect.poll(() => bodies(a)).toEqual(['from the living']);
    });

    test('who sends to a node that is not there hears that it is gone, each time', async () => {
      const a = await attach('a');
      a.endpoint.send('nobody', tell('a', 1));
      await expect.poll(() => a.lost.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(1);
      const before = a.lost.length;
      a.endpoint.send('nobody', tell('a', 2));
      await expect.poll(() => a.lost.length, { timeout: 10_000 }).toBeGreaterThan(before);
      expect(new Set(a.lost)).toEqual(new Set(['nobody']));
    });
  });
}

const bodies = (node: Node): unknown[] => node.received.map(({ body }) => body);
