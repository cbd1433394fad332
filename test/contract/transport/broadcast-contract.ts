/** What every transport adapter promises of broadcasts, probes and declared losses; run beside `transportContract`. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InvariantError } from '../../../src/kernel/errors.ts';
import type { Envelope, TransportEndpoint } from '../../../src/ports/transport.ts';
import type { TransportHarness } from './transport-contract.ts';
import { tell } from '../../support/envelopes.ts';

interface Node {
  readonly endpoint: TransportEndpoint;
  readonly received: Envelope[];
  readonly heard: unknown[];
  readonly lost: string[];
}

export function broadcastContract(name: string, start: () => Promise<TransportHarness>): void {
  describe(`broadcast contract: ${name}`, () => {
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
      const heard: unknown[] = [];
      const lost: string[] = [];
      const endpoint = await transport.attach(node, (envelope) => void received.push(envelope as Envelope));
      endpoint.onNodeLost((gone) => void lost.push(gone));
      endpoint.onBroadcast((body) => void heard.push(body));
      attached.push(endpoint);
      return { endpoint, received, heard, lost };
    };

    test('a broadcast reaches every attached node, the sender too, whole and in order', async () => {
      const nodes = [await attach('a'), await attach('b'), await attach('c')];
      const bodies = Array.from({ length: 20 }, (_, count) => ({
        count,
        text: 'Ünïcode "\n"',
        list: [null],
      }));
      for (const body of bodies) nodes[0]?.endpoint.broadcast(body);
      for (const node of nodes) await expect.poll(() => node.heard).toEqual(bodies);
      expect(nodes.flatMap(({ received }) => received)).toEqual([]);
    });

    test('what is broadcast is what was said, not what became of it', async () => {
      const [a, b] = [await attach('a'), await attach('b')];
      const body = { leads: ['router'] };
      a.endpoint.broadcast(body);
      body.leads.push('run/1');
      await expect.poll(() => [a.heard, b.heard]).toEqual([[{ leads: ['router'] }], [{ leads: ['router'] }]]);
    });

    test('a broadcast that cannot be encoded is our own mistake', async () => {
      const a = await attach('a');
      const inItself: { self?: unknown } = {};
      inItself.self = inItself;
      expect(() => a.endpoint.broadcast(inItself)).toThrow(InvariantError);
      a.endpoint.broadcast('after');
      await expect.poll(() => a.heard).toEqual(['after']);
    });

    test('who has left is not heard and hears nothing', async () => {
      const [a, b] = [await attach('a'), await attach('b')];
      await a.endpoint.detach();
      a.endpoint.broadcast('too late');
      b.endpoint.broadcast('still here');
      await expect.poll(() => b.heard).toEqual(['still here']);
      expect(a.heard).toEqual([]);
    });

    test('a probe says who is there and who is not', async () => {
      const [a] = [await attach('a'), await attach('b')];
      expect(await a.endpoint.probe('b', 5_000)).toBe('there');
      expect(await a.endpoint.probe('a', 5_000)).toBe('there');
      expect(await a.endpoint.probe('nobody', 5_000)).toBe('gone');
      expect(a.endpoint.isConnected).toBe(true);
    });

    test('a node that has left is gone, and is there again under its name', async () => {
      const [a, b] = [await attach('a'), await attach('b')];
      await b.endpoint.detach();
      expect(await a.endpoint.probe('b', 5_000)).toBe('gone');
      const again = await attach('b');
      expect(await a.endpoint.probe('b', 5_000)).toBe('there');
      again.endpoint.broadcast('I am back');
      await expect.poll(() => a.heard).toEqual(['I am back']);
      a.endpoint.send('b', tell('a', 'welcome'));
      await expect.poll(() => again.received.map(({ body }) => body)).toEqual(['welcome']);
    });

    test('a node that dies is gone', async () => {
      const [a] = [await attach('a'), await attach('b')];
      await harness.kill('b');
      await expect.poll(() => a.endpoint.probe('b', 1_000), { timeout: 10_000 }).toBe('gone');
    });

    test('listeners hear of a node that is declared lost, and again when something is sent to it', async () => {
      const [a, b, c] = [await attach('a'), await attach('b'), await attach('c')];
      await harness.kill('b');
      a.endpoint.declareLost('b');
      await expect.poll(() => a.lost, { timeout: 10_000 }).toContain('b');
      const before = a.lost.length;
      a.endpoint.send('b', tell('a', 'are you there?'));
      await expect.poll(() => a.lost.length, { timeout: 10_000 }).toBeGreaterThan(before);
      expect(new Set(a.lost)).toEqual(new Set(['b']));
      expect(c.lost.every((node) => node === 'b')).toBe(true);
      expect(b.lost).toEqual([]);
    });

    test('a node that was declared lost by mistake is reached again once it has been heard', async () => {
      const [a, b] = [await attach('a'), await attach('b')];
      a.endpoint.declareLost('b');
      await expect.poll(() => a.lost).toContain('b');
      b.endpoint.broadcast('I live');
      await expect.poll(() => a.heard).toEqual(['I live']);
      a.endpoint.send('b', tell('a', 'good'));
      await expect.poll(() => b.received.map(({ body }) => body)).toEqual(['good']);
    });
  });
}
