/** What a node lets in: who has no token, who has one and sends what he should not, and who is of another version. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type NatsConnection } from 'nats';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { joinMembership, type JoinedMembership } from '../../src/actors/cluster/membership.ts';
import { NODE_PATH } from '../../src/actors/node.ts';
import { ENVELOPE_VERSION } from '../../src/actors/runtime/envelopes.ts';
import { actorRef } from '../../src/actors/runtime/types.ts';
import { type AddressFile, readAddress, writeAddress } from '../../src/bootstrap/cluster/address-file.ts';
import { BUILD, PROTOCOL } from '../../src/bootstrap/version.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/logger.ts';
import type { NodeCard } from '../../src/ports/membership.ts';
import type { Envelope, TransportEndpoint } from '../../src/ports/transport.ts';
import { connectNats, type NatsLink } from '../../src/transport/nats/connection.ts';
import { subjectsOf } from '../../src/transport/nats/subjects.ts';
import { processesOf } from '../support/cluster-processes.ts';
import { type NodeProcess, runCommand, startCommand } from '../support/node-process.ts';

const NAMESPACE = 'door';
const INTRUDER = 'intruder-0001';

let folder: string;
let head: NodeProcess;
let address: AddressFile;
let node: string;

const environment = (): Record<string, string> => ({ DLGFORGE_CLUSTER_DIR: join(folder, 'clusters') });
const nodeLog = (): Promise<string> => readFile(join(folder, 'head', 'logs', 'node.log'), 'utf8');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-door-'));
  head = startCommand(
    ['cluster', 'start', '--head', '--namespace', NAMESPACE, '--state-dir', join(folder, 'head')].concat([
      '--metrics-port',
      '0',
      '--block',
    ]),
    { folder, env: environment() },
  );
  await head.says(/is ready/, 60_000);
  const found = await readAddress(join(folder, 'clusters'), NAMESPACE);
  if (found === null) throw new Error('the head has written no address');
  address = found;
  node = address.headNode;
});

afterAll(async () => {
  await head?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function nodesOfCluster(): Promise<string[]> {
  const { said, code } = await runCommand(['cluster', 'nodes', '--json', '--namespace', NAMESPACE], {
    folder,
    env: environment(),
  });
  if (code !== 0) throw new Error(said);
  return (JSON.parse(said) as { node: string }[]).map((each) => each.node);
}

describe('a head that was given no address', () => {
  test('listens on the loopback alone, its servers too', async () => {
    const listeners = await listenersOf(processesOf(folder));
    expect(listeners.length, 'NATS and metrics').toBeGreaterThanOrEqual(2);
    expect(listeners.filter((text) => !/^(?:127\.0\.0\.1|::1):/.test(text))).toEqual([]);
    expect(head.said()).not.toContain('open to other machines');
  });

  test.each([
    ['no token', undefined],
    ['another token', 'not-the-token'],
  ])('lets nobody in who has %s', async (_, token) => {
    const login = token === undefined ? {} : { token };
    await expect(
      connect({ servers: address.natsUrl, reconnect: false, timeout: 2_000, ...login }),
    ).rejects.toThrow(/authorization/i);
    const { code, said } = await runCommand(
      ['cluster', 'start', '--address', address.natsUrl, '--namespace', NAMESPACE, '--block'],
      {
        folder,
        env: {
          DLGFORGE_POSTGRES_DSN: 'postgres://127.0.0.1/none',
          ...(token === undefined ? {} : { DLGFORGE_NATS_TOKEN: token }),
        },
      },
    );
    expect(code).toBe(1);
    expect(said).toMatch(/cluster start failed: .*token/);
  });
});

describe('I10: whoever has the token and sends what nobody should', () => {
  let nats: NatsConnection;
  const subjects = subjectsOf(NAMESPACE);
  const canary = (): string => join(folder, 'canary');
  const heard: Envelope[] = [];

  beforeAll(async () => {
    nats = await connect({ servers: address.natsUrl, token: address.token ?? '' });
    nats.subscribe(subjects.mailbox(INTRUDER), {
      callback: (_error, message) => heard.push(...(message.json<Envelope[]>() ?? [])),
    });
  });
  afterAll(() => nats?.close());

  const toNode = (payload: string | Uint8Array, sender = INTRUDER): void =>
    nats.publish(subjects.mailbox(node), payload, { reply: subjects.back(sender, node) });
  const envelope = (fields: object): string =>
    JSON.stringify([{ version: ENVELOPE_VERSION, from: INTRUDER, incarnation: -1, ...fields }]);
  const refused = async (): Promise<number> => {
    const port = /127\.0\.0\.1:(\d+)\/metrics/.exec(head.said())?.[1] ?? '';
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return Number(/^dlgforge_envelopes_refused_total(?:\{[^}]*\})? (\d+)/m.exec(text)?.[1] ?? 'NaN');
  };

  test('is counted, named once in the log, and nothing else happens', async () => {
    const before = await refused();
    const harm = { command: `touch ${canary()}`, code: `require('fs').writeFileSync('${canary()}','')` };
    const malformed = [
      'this is no JSON',
      '{"id":1}\n',
      new Uint8Array([0xff, 0x00, 0x5b]),
      `["${'x'.repeat(600 * 1024)}"]`,
      JSON.stringify([1, null, 'text', [], {}]),
      envelope({ kind: 'exec', path: NODE_PATH, body: harm }),
      envelope({ kind: 'tell', body: harm }),
      envelope({ kind: 'ask', path: NODE_PATH, body: harm }),
      JSON.stringify([{ version: 99, from: INTRUDER, kind: 'tell', path: NODE_PATH, body: harm }]),
    ];
    for (const payload of malformed) toNode(payload);
    for (const body of [
      'nothing',
      { type: 'heartbeat', card: { node: INTRUDER } },
      { type: 'lost', node },
      { type: 'run', ...harm },
      { type: 'leaving', node: 'x'.repeat(40_000) },
    ])
      nats.publish(subjects.all, JSON.stringify({ from: INTRUDER, body }));
    nats.publish(subjects.all, 'no JSON either');
    await nats.flush();
    await expect.poll(refused, { timeout: 5_000 }).toBeGreaterThanOrEqual(before + malformed.length + 5);
    expect(await nodeLog()).toContain(`node ${INTRUDER}`);

    const lines = (await nodeLog()).split('\n').length;
    const counted = await refused();
    for (let time = 0; time < 2_000; time += 1) toNode(`{"${time}`);
    await nats.flush();
    await expect.poll(refused, { timeout: 5_000 }).toBe(counted + 2_000);
    expect((await nodeLog()).split('\n').length - lines, 'the log does not grow with it').toBeLessThan(5);

    expect(await nodesOfCluster(), 'it is no member, and nobody was taken for lost').toEqual([node]);
    expect(existsSync(canary())).toBe(false);
    expect(head.child.exitCode).toBeNull();
  });

  test('cannot start anything: an actor that is not there is not made, a message that is not known is refused', async () => {
    heard.length = 0;
    const ask = { kind: 'ask', timeoutMs: 5_000, body: { type: 'Spawn', command: `touch ${canary()}` } };
    const paths = ['shell', 'constructor', '../node', 'worker:none', NODE_PATH];
    for (const path of paths) toNode(envelope({ ...ask, path, correlation: `to ${path}` }));
    await nats.flush();
    await expect.poll(() => heard.length, { timeout: 5_000 }).toBe(paths.length);
    expect(heard.map(({ kind }) => kind)).toEqual(paths.map(() => 'fail'));
    const { said } = await runCommand(['actors', 'tree', '--namespace', NAMESPACE], {
      folder,
      env: environment(),
    });
    expect(said).not.toMatch(/shell|constructor|none/);
    expect(existsSync(canary())).toBe(false);
  });
});

describe('versions', () => {
  const links: NatsLink[] = [];
  const joined: JoinedMembership[] = [];
  const heard: Envelope[] = [];
  beforeEach(() => {
    heard.length = 0;
  });
  afterEach(async () => {
    for (const membership of joined.splice(0)) membership.leave();
    for (const link of links.splice(0)) await link.close();
  });

  /** A node of another version, as far as the others can tell: its heartbeats over the real transport. */
  const standIn = async (
    name: string,
    protocol: number,
    namespace = NAMESPACE,
  ): Promise<{ endpoint: TransportEndpoint; membership: JoinedMembership }> => {
    const link = await connectNats({
      urls: [address.natsUrl],
      token: address.token ?? '',
      name,
      namespace,
      logger: silentLogger,
    });
    links.push(link);
    const endpoint = await link.transport.attach(name, (envelope) => heard.push(envelope as Envelope));
    const card: NodeCard = {
      node: name,
      kind: 'agent',
      parent: null,
      host: 'elsewhere',
      pid: 1,
      startedAtMs: Date.now(),
      protocol,
      build: `${protocol}.0.0`,
      labels: {},
      leads: [],
      status: {},
    };
    const membership = joinMembership({ endpoint, card, clock: systemClock, logger: silentLogger });
    joined.push(membership);
    return { endpoint, membership };
  };

  test('one protocol step apart: a member that asks and is answered', async () => {
    const { endpoint, membership } = await standIn('next-0001', PROTOCOL + 1);
    await membership.ready();
    expect(await nodesOfCluster()).toEqual([node, 'next-0001']);
    const { incarnation } = actorRef(node, NODE_PATH);
    endpoint.send(node, {
      version: ENVELOPE_VERSION + 1,
      from: 'next-0001',
      kind: 'ask',
      path: NODE_PATH,
      incarnation,
      correlation: 'c',
      timeoutMs: 3_000,
      body: { type: 'GetNodeStatus', replyTo: { node: 'next-0001', correlation: 'c' } },
    });
    await expect
      .poll(() => heard.find(({ kind }) => kind === 'reply')?.body, { timeout: 3_000 })
      .toMatchObject({
        node,
      });
  });

  test('two steps apart: no member, and both sides name both versions', async () => {
    const { membership } = await standIn('far-0001', PROTOCOL + 2);
    const both = new RegExp(
      `protocol ${PROTOCOL + 2} .*protocol ${PROTOCOL} |protocol ${PROTOCOL} .*protocol ${PROTOCOL + 2} `,
    );
    await expect(membership.ready()).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringMatching(both),
    });
    await expect.poll(nodeLog, { timeout: 5_000 }).toMatch(both);
    // What refuses to join ends.
    membership.leave();
    expect(await nodesOfCluster()).toEqual([node]);
  });

  test('`cluster start` in a cluster that is two steps on refuses to start, and says both versions', async () => {
    const { membership } = await standIn('settled-0001', PROTOCOL + 2, 'later');
    await membership.ready();
    await expect.poll(() => membership.isWarm(), { timeout: 5_000 }).toBe(true);
    await writeAddress(join(folder, 'clusters'), { ...address, namespace: 'later' });
    const { code, said } = await runCommand(
      ['cluster', 'start', '--address', 'auto', '--namespace', 'later', '--block'],
      { folder, env: environment() },
    );
    expect(code).toBe(1);
    expect(said).toContain(`protocol ${PROTOCOL + 2} (build ${PROTOCOL + 2}.0.0)`);
    expect(said).toContain(`protocol ${PROTOCOL} (build ${BUILD})`);
  });
});

/** `address:port` of what these processes listen on. */
async function listenersOf(pids: readonly number[]): Promise<string[]> {
  const inodes = new Set<string>();
  for (const pid of pids) {
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode !== undefined) inodes.add(inode);
    }
  }
  const rows = [
    ...(await rowsOf('/proc/net/tcp')).map((row) => ({ ...row, host: ipv4(row.host) })),
    ...(await rowsOf('/proc/net/tcp6')).map((row) => ({ ...row, host: ipv6(row.host) })),
  ];
  return rows.filter(({ inode }) => inodes.has(inode)).map(({ host, port }) => `${host}:${port}`);
}

const LISTENS = '0A';

async function rowsOf(file: string): Promise<{ host: string; port: number; inode: string }[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === LISTENS)
    .map((fields) => {
      const [host = '', port = ''] = (fields[1] ?? '').split(':');
      return { host, port: Number.parseInt(port, 16), inode: fields[9] ?? '' };
    });
}

/** The kernel writes addresses in the byte order of the machine. */
const ipv4 = (hex: string): string => [...Buffer.from(hex, 'hex')].toReversed().join('.');
const ipv6 = (hex: string): string => (/^0{24}01000000$/.test(hex) ? '::1' : hex);
