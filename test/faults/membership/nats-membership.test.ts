/** Membership and singletons as they are in production, by their default times: real server, real time. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { joinMembership, type JoinedMembership } from '../../../src/actors/cluster/membership.ts';
import { type Contender, contend } from '../../../src/actors/cluster/singletons.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import { CLUSTER_HOST } from '../../../src/ports/store.ts';
import type { TransportEndpoint } from '../../../src/ports/transport.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import type { NatsLink } from '../../../src/transport/nats/connection.ts';
import { cardOf, namesOf } from '../../support/cluster-bench.ts';
import { type CutProxy, startCutProxy } from '../../support/cut-proxy.ts';
import { freshNamespace, startTestNats, type TestNats } from '../../support/nats-server.ts';
import { until } from '../../support/simulation.ts';

interface Node {
  readonly name: string;
  readonly proxy: CutProxy;
  readonly link: NatsLink;
  readonly endpoint: TransportEndpoint;
  readonly membership: JoinedMembership;
  readonly contender: Contender;
  readonly changes: string[];
}

let server: TestNats;
let namespace: string;
let store: MemoryStore;
let nodes: Node[] = [];

beforeAll(async () => {
  server = await startTestNats();
});
afterAll(() => server.remove());
beforeEach(() => {
  namespace = freshNamespace();
  store = new MemoryStore();
});
afterEach(async () => {
  await Promise.all(nodes.map(({ contender }) => contender.stop()));
  for (const { membership, endpoint, link, proxy } of nodes) {
    membership.leave();
    await endpoint.detach();
    await link.close();
    await proxy.close();
  }
  nodes = [];
});

async function join(name: string): Promise<Node> {
  const proxy = await startCutProxy(server.port);
  const link = await server.connect({ namespace, urls: [`nats://127.0.0.1:${proxy.port}`] });
  const endpoint = await link.transport.attach(name, () => undefined);
  const common = { clock: systemClock, logger: silentLogger };
  const membership = joinMembership({
    ...common,
    endpoint,
    card: { ...cardOf(name), startedAtMs: Date.now() },
  });
  const changes: string[] = [];
  membership.onChange(({ type, member }) => void changes.push(`${type} ${member.card.node}`));
  const contender = contend({
    ...common,
    name: 'router',
    membership,
    store,
    holder: { host: CLUSTER_HOST, pid: process.pid, processKey: name, command: 'test', sinceMs: 0 },
    start: async () => ({ stop: async () => undefined, ended: new Promise(() => undefined) }),
  });
  const node = { name, proxy, link, endpoint, membership, contender, changes };
  nodes.push(node);
  await membership.ready();
  return node;
}

const leaders = (): readonly string[] =>
  nodes.filter(({ contender }) => contender.leads !== null).map(({ name }) => name);

async function led(): Promise<{ readonly leader: Node; readonly others: readonly Node[] }> {
  await until(() => nodes.every(({ membership }) => membership.leaderOf('router') !== null), 'a leader');
  const leader = nodes.find(({ name }) => name === leaders()[0]);
  if (leader === undefined) throw new Error('nobody leads');
  return { leader, others: nodes.filter((node) => node !== leader) };
}

describe('over NATS', () => {
  test('nodes that are ready know each other, and one leads', async () => {
    for (const name of ['a', 'b', 'c']) await join(name);
    await until(
      () => nodes.every(({ membership }) => namesOf(membership).join('') === 'abc'),
      'all to know each other',
      500,
    );
    const { leader } = await led();
    expect(leaders()).toEqual([leader.name]);
  });

  test('a leader whose connection ends is replaced in three seconds, and is a member again when it is back', async () => {
    for (const name of ['a', 'b', 'c']) await join(name);
    const { leader, others } = await led();
    const sinceMs = Date.now();
    leader.proxy.cut();
    await until(() => others.some(({ contender }) => contender.leads !== null), 'another to lead');
    expect(Date.now() - sinceMs).toBeLessThan(3_000);
    expect(leader.membership.inContact()).toBe(false);
    await until(() => leader.contender.leads === null, 'the store to tell the old leader', 3_000);
    leader.proxy.heal();
    await until(
      () => nodes.every(({ membership }) => namesOf(membership).join('') === 'abc'),
      'it to be back',
    );
    expect(leader.changes.filter((change) => change.startsWith('lost'))).toEqual([]);
    expect(leaders()).toHaveLength(1);
  });

  test('while the server is away nobody is lost and nobody stops to lead, and when it is back all are there', async () => {
    for (const name of ['a', 'b', 'c']) await join(name);
    const { leader } = await led();
    await server.kill();
    await until(() => nodes.every(({ membership }) => !membership.inContact()), 'nobody to be in contact');
    const outageEndsMs = Date.now() + 6_000;
    await until(() => Date.now() >= outageEndsMs, 'an outage longer than a silence may be');
    expect(leaders()).toEqual([leader.name]);
    await server.start();
    await until(() => nodes.every(({ membership }) => membership.isWarm()), 'all to be warm', 10_000);
    expect(leaders()).toEqual([leader.name]);
    for (const { changes } of nodes)
      expect(changes.filter((change) => change.startsWith('lost'))).toEqual([]);
  });
});
