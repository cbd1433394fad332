/** What NATS can do to a node, on a real server. */
import { connect, type NatsConnection } from 'nats';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Logger } from '../../../src/kernel/logger.ts';
import { InvariantError } from '../../../src/kernel/errors.ts';
import type { Envelope, TransportEndpoint } from '../../../src/ports/transport.ts';
import type { NatsLink } from '../../../src/transport/nats/connection.ts';
import { subjectsOf } from '../../../src/transport/nats/subjects.ts';
import { type CutProxy, startCutProxy } from '../../support/cut-proxy.ts';
import { freshNamespace, startTestNats, type TestNats } from '../../support/nats-server.ts';
import { tell } from '../../support/envelopes.ts';

const SOON = { timeout: 10_000 };

let server: TestNats;

beforeAll(async () => {
  server = await startTestNats();
});

afterAll(() => server.remove());

describe('nodes on a NATS server', () => {
  let namespace: string;
  let links: NatsLink[];
  let proxies: CutProxy[];
  let stranger: NatsConnection;
  const warnings: string[] = [];
  const logger: Logger = { log: (_level, _category, text) => void warnings.push(text) };

  beforeEach(async () => {
    namespace = freshNamespace();
    links = [];
    proxies = [];
    warnings.length = 0;
    stranger = await connect({ servers: `127.0.0.1:${server.port}`, token: server.token });
  });

  afterEach(async () => {
    for (const link of links) await link.close();
    for (const proxy of proxies) await proxy.close();
    await stranger.close();
  });

  interface Node {
    readonly link: NatsLink;
    readonly proxy: CutProxy;
    readonly endpoint: TransportEndpoint;
    readonly received: Envelope[];
    readonly heard: unknown[];
    readonly lost: string[];
    readonly statuses: (string | null)[];
  }

  async function start(name: string): Promise<Node> {
    const proxy = await startCutProxy(server.port);
    proxies.push(proxy);
    const statuses: (string | null)[] = [];
    const urls = [`nats://127.0.0.1:${proxy.port}`];
    const onStatus = (text: string | null): void => void statuses.push(text);
    const link = await server.connect({ namespace, urls, logger, onStatus });
    links.push(link);
    const received: Envelope[] = [];
    const heard: unknown[] = [];
    const lost: string[] = [];
    const endpoint = await link.transport.attach(
      name,
      (envelope) => void received.push(envelope as Envelope),
    );
    endpoint.onBroadcast((body) => void heard.push(body));
    endpoint.onNodeLost((node) => void lost.push(node));
    return { link, proxy, endpoint, received, heard, lost, statuses };
  }

  test('an envelope of 3 MB and one of 20 MB arrive whole, in their place between small ones', async () => {
    const [a, b] = [await start('a'), await start('b')];
    const sizes = [1, 3_000_000, 2, 20_000_000, 3];
    for (const size of sizes) a.endpoint.send('b', tell('a', 'ä'.repeat(size)));
    await expect.poll(() => b.received.length, SOON).toBe(sizes.length);
    expect(b.received.map(({ body }) => (body as string).length)).toEqual(sizes);
    expect(b.received.every(({ body }) => /^ä+$/.test(body as string))).toBe(true);
  });

  test('an envelope that is too big for any wire is our own mistake', async () => {
    const a = await start('a');
    expect(() => a.endpoint.send('b', tell('a', 'x'.repeat(64 * 1024 * 1024)))).toThrow(InvariantError);
  });

  test('what strangers send malformed, oversized or in loose parts is counted and dropped, its sender named once', async () => {
    const [a, b] = [await start('a'), await start('b')];
    const subjects = subjectsOf(namespace);
    const mailbox = subjects.mailbox('a');
    const from = { reply: subjects.back('evil node', 'a') };
    stranger.publish(mailbox, 'no JSON', from);
    stranger.publish(mailbox, '[1, 2', from);
    stranger.publish(mailbox, '', from);
    stranger.publish(mailbox, `[${'1,'.repeat(400_000)}1]`, from);
    stranger.publish(mailbox, '{"id":"x","index":3,"count":4}\nabc', from);
    stranger.publish(mailbox, '{"id":"x","index":0,"count":4000000}\nabc', from);
    stranger.publish(mailbox, Buffer.from([0xff, 0xfe, 0x00]));
    stranger.publish(subjects.all, '{"body": 1}');
    stranger.publish(subjects.all, '[');
    await stranger.flush();
    b.endpoint.send('a', tell('b', 'well'));
    await expect.poll(() => a.received.map(({ body }) => body), SOON).toEqual(['well']);
    expect(a.heard).toEqual([]);
    expect(a.link.transport.stats().refused).toBe(9);
    expect(warnings.filter((text) => text.includes('evil node'))).toHaveLength(1);
  });

  test('a receiver that throws does not break the connection', async () => {
    const a = await start('a');
    const link = await server.connect({ namespace, logger });
    links.push(link);
    const received: unknown[] = [];
    const endpoint = await link.transport.attach('b', (envelope) => {
      received.push((envelope as Envelope).body);
      if (received.length === 1) throw new Error('a broken actor');
    });
    endpoint.onBroadcast(() => {
      throw new Error('a broken listener');
    });
    a.endpoint.send('b', tell('a', 1));
    a.endpoint.broadcast('x');
    a.endpoint.send('b', tell('a', 2));
    await expect.poll(() => received, SOON).toEqual([1, 2]);
    expect(warnings.some((text) => text.includes('a broken actor'))).toBe(true);
    expect(warnings.some((text) => text.includes('a broken listener'))).toBe(true);
  });

  test('a name that another process has is refused', async () => {
    await start('a');
    await expect(start('a')).rejects.toMatchObject({ code: 'held' });
  });

  test('while the connection is lost the status says so, and what was sent a moment ago arrives after', async () => {
    const [a, b] = [await start('a'), await start('b')];
    a.proxy.cut();
    await expect.poll(() => a.endpoint.isConnected, SOON).toBe(false);
    expect(a.statuses.at(-1)).toMatch(/^waiting for NATS at nats:\/\/127\.0\.0\.1:\d+$/);
    expect(await a.endpoint.probe('b', 100)).toBe('unknown');
    for (let count = 0; count < 100; count += 1) a.endpoint.send('b', tell('a', count));
    a.endpoint.broadcast('nobody hears this');
    a.proxy.heal();
    await expect.poll(() => b.received.length, SOON).toBe(100);
    expect(b.received.map(({ body }) => body)).toEqual(Array.from({ length: 100 }, (_, count) => count));
    expect(a.statuses.at(-1)).toBeNull();
    expect([a.heard, b.heard]).toEqual([[], []]);
    a.endpoint.broadcast('here again');
    await expect.poll(() => [a.heard, b.heard], SOON).toEqual([['here again'], ['here again']]);
  });

  test('more than a bound is not kept for the server, and what is dropped is counted', async () => {
    const [a, b] = [await start('a'), await start('b')];
    a.proxy.cut();
    await expect.poll(() => a.endpoint.isConnected, SOON).toBe(false);
    for (let count = 0; count < 30; count += 1) {
      a.endpoint.send('b', tell('a', `${count} ${'x'.repeat(1_000_000)}`));
      await new Promise((resolve) => setImmediate(resolve));
    }
    a.proxy.heal();
    await expect.poll(() => b.received.length, SOON).toBeGreaterThan(0);
    a.endpoint.send('b', tell('a', 'after'));
    await expect.poll(() => b.received.at(-1)?.body, SOON).toBe('after');
    const { dropped } = a.link.transport.stats();
    expect(dropped).toBeGreaterThanOrEqual(13);
    expect(b.received.length).toBe(31 - dropped);
    // What was kept is whole: no part of an envelope arrives alone.
    expect(b.link.transport.stats().refused).toBe(0);
  });

  test('a node that only reconnects is not taken for gone', async () => {
    const [a, b] = [await start('a'), await start('b')];
    b.proxy.cut();
    await expect.poll(() => b.endpoint.isConnected, SOON).toBe(false);
    a.endpoint.send('b', tell('a', 'into the void'));
    b.proxy.heal();
    await expect.poll(() => b.endpoint.isConnected, SOON).toBe(true);
    // Longer than the second look takes.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    a.endpoint.send('b', tell('a', 'there?'));
    await expect.poll(() => b.received.map(({ body }) => body), SOON).toEqual(['there?']);
    expect(a.lost).toEqual([]);
  });

  test('a node that was declared lost by mistake is there again when a message of it arrives', async () => {
    const [a, b] = [await start('a'), await start('b')];
    a.endpoint.declareLost('b');
    a.endpoint.send('b', tell('a', 'not sent'));
    b.endpoint.send('a', tell('b', 'I live'));
    await expect.poll(() => a.received.map(({ body }) => body), SOON).toEqual(['I live']);
    a.endpoint.send('b', tell('a', 'good'));
    await expect.poll(() => b.received.map(({ body }) => body), SOON).toEqual(['good']);
  });

  test('a server that restarts makes nobody believe that the others are gone', async () => {
    const [a, b] = [await start('a'), await start('b')];
    await server.kill();
    await expect.poll(() => [a.endpoint.isConnected, b.endpoint.isConnected], SOON).toEqual([false, false]);
    b.proxy.cut();
    await server.start();
    await expect.poll(() => a.endpoint.isConnected, SOON).toBe(true);
    expect(await a.endpoint.probe('b', 1_000)).toBe('unknown');
    a.endpoint.send('b', tell('a', 'too early'));
    b.proxy.heal();
    await expect.poll(() => b.endpoint.isConnected, SOON).toBe(true);
    a.endpoint.send('b', tell('a', 'hello'));
    await expect.poll(() => b.received.at(-1)?.body, SOON).toBe('hello');
    expect(a.lost).toEqual([]);
  });

  test('a server that hung for longer than an attempt takes everybody back once, and nothing arrives twice', async () => {
    const [a, b] = [await start('a'), await start('b')];
    process.kill(server.pid, 'SIGSTOP');
    try {
      await expect.poll(() => [a.link.isConnected, b.link.isConnected], SOON).toEqual([false, false]);
      // Until at least one attempt was given up: its socket is in the server's queue.
      await expect.poll(() => warnings.some((text) => /does not answer/.test(text)), SOON).toBe(true);
    } finally {
      process.kill(server.pid, 'SIGCONT');
    }
    await expect.poll(() => [a.link.isConnected, b.link.isConnected], SOON).toEqual([true, true]);
    // The server drops those who do not log in after two seconds.
    const said = Array.from({ length: 30 }, (_, count) => count);
    for (const count of said) {
      a.endpoint.broadcast(count);
      a.endpoint.send('b', tell('a', count));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await expect.poll(() => b.received.at(-1)?.body, SOON).toBe(29);
    expect([a.heard, b.heard, b.received.map(({ body }) => body)]).toEqual([said, said, said]);
    for (const { statuses } of [a, b]) expect(statuses).toEqual([expect.stringContaining('waiting'), null]);
  });

  test('closing is quick, also when the server is away, and a closed link is silent', async () => {
    const a = await start('a');
    a.proxy.cut();
    await expect.poll(() => a.endpoint.isConnected, SOON).toBe(false);
    const beganMs = performance.now();
    await a.link.close();
    await a.link.close();
    expect(performance.now() - beganMs).toBeLessThan(1_500);
    a.endpoint.send('b', tell('a', 1));
    a.endpoint.broadcast(1);
    expect(await a.endpoint.probe('b', 100)).toBe('unknown');
  });

  test('a freshly started pair of processes shares nothing with another namespace', async () => {
    const a = await start('a');
    namespace = freshNamespace();
    const other = await start('a');
    other.endpoint.broadcast('other');
    other.endpoint.send('a', tell('a', 'other'));
    await expect.poll(() => [other.heard, other.received.length], SOON).toEqual([['other'], 1]);
    expect([a.heard, a.received]).toEqual([[], []]);
  });
});
